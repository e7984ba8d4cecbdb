"""Optional services that follow a run, W&B and MLflow: `Loggers` in `follow.py`. The driver alone talks to them."""

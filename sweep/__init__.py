"""Sweeps of selector training on Ray Tune with Optuna: space, study, trials, progress, export."""

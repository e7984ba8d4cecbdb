"""The command line. `main` in `sweep.cli.app` is the door."""

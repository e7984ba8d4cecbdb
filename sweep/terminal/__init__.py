"""The terminal: one screen for all output. `screen` in `sweep.terminal.console` is the door."""

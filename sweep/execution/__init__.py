"""Trials between the study and what runs them. The door is `Backend.run` in `sweep.execution.backend`."""

"""Trials between the study and what runs them."""

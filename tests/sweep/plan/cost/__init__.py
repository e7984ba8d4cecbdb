"""Tests of what a plan will cost."""

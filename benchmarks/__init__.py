"""Benchmarks. Each measures both sides in one run and prints ratios."""

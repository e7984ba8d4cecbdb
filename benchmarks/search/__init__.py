"""Samplers and pruners compared at equal epochs, on surfaces that were recorded once with real training."""

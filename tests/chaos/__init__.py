"""Chaos: processes of a sweep are killed at random times, the sweep is resumed, and nothing may be lost or differ."""

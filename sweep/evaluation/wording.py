"""Numbers as people write them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def signed(value: float) -> str:
    """A fraction in points with its sign, never `-0.0`."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def points(value: float, *, signed: bool = False) -> str:
    """A difference of fractions in percentage points: `+3.1 points`."""
    number = f"{round(100 * value, 1) + 0.0:+.1f}" if signed else f"{100 * value:.1f}"
    return f"{number} points"


def p_text(p: float) -> str:
    """A p-value as people write it."""
    return "below 0.001" if p < 0.001 else f"{p:.3f}"

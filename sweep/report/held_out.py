"""The comparison on held-out queries that needs no model: expected rewards, and accuracies where a rule answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from sweep.report.tables import plain_table, titled
from sweep.results.held_out import HeldOutRow

GAIN = "minus similarity [95 %]"


def held_out_table(rows: Sequence[HeldOutRow]) -> Group:
    """Policies on the test split; differences to similarity with their 95 % intervals."""
    title = "Held-out test queries (a no_op trial selects what rce_only selects)"
    if not any(row.accuracy for row in rows):
        return titled(title, _reward_table(rows))
    return titled(title, _accuracy_table(rows), "", _reward_table(rows))


def _accuracy_table(rows: Sequence[HeldOutRow]) -> Table:
    shots = max(len(row.accuracy or ()) for row in rows)
    table = plain_table(["policy", *(f"accuracy\n{shot}-shot" for shot in range(1, shots + 1)), GAIN])
    for row in rows:
        table.add_row(escape(row.name), *(f"{value:.3f}" for value in row.accuracy or ()), _interval(row.accuracy_gain))
    return table


def _reward_table(rows: Sequence[HeldOutRow]) -> Table:
    table = plain_table(["policy", "expected\nreward", GAIN, "loss"])
    for row in rows:
        table.add_row(escape(row.name), f"{row.reward:.3f}", _interval(row.reward_gain), _loss(row.loss))
    return table


def _loss(value: float) -> str:
    """The listwise losses are undefined where no test group has contrast."""
    return f"{value:.4f}" if math.isfinite(value) else "undefined"


def _interval(gain: tuple[float, float, float] | None) -> str:
    if gain is None:
        return ""
    middle, low, high = (round(value, 3) + 0.0 for value in gain)  # + 0.0: no "-0.000"
    return escape(f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]")

"""The comparison on held-out queries that needs no model: order of the beams, and accuracies where a rule answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table

from sweep.evaluation.records import Difference
from sweep.report.tables import plain_table, titled
from sweep.results.held_out import HeldOutRow

GAIN = "minus similarity [95 %]"


def held_out_table(rows: Sequence[HeldOutRow]) -> Group:
    """Policies on the test split; differences to similarity with their 95 % intervals."""
    title = "Held-out test queries (a no_op trial selects what rce_only selects)"
    order = titled(
        "Order of the measured beams: reward of the one that is preferred, and share of pairs that are in order. "
        "No temperature of a policy changes these numbers. ± is the longer side of an interval",
        _order_table(rows),
    )
    if not any(row.accuracy for row in rows):
        return titled(title, order)
    return titled(title, _accuracy_table(rows), "", order)


def _accuracy_table(rows: Sequence[HeldOutRow]) -> Table:
    shots = max(len(row.accuracy or ()) for row in rows)
    table = plain_table(["policy", *(f"accuracy\n{shot}-shot" for shot in range(1, shots + 1)), GAIN])
    for row in rows:
        table.add_row(row.name, *(f"{value:.3f}" for value in row.accuracy or ()), _interval(row.accuracy_gain))
    return table


def _order_table(rows: Sequence[HeldOutRow]) -> Table:
    headers = ["preferred\nreward", "minus similarity\n[95 %]", "pairs\nin order", "minus\nsimilarity"]
    table = plain_table(["policy", *headers])
    for row in rows:
        agreement = "" if math.isnan(row.agreement) else f"{row.agreement:.3f}"
        gains = _interval(row.preferred_gain), _half_interval(row.agreement_gain)
        table.add_row(row.name, f"{row.preferred:.3f}", gains[0], agreement or "undefined", gains[1])
    return table


def _interval(gain: Difference | None) -> str:
    if gain is None:
        return ""
    middle, low, high = (round(value, 3) + 0.0 for value in (gain.value, gain.low, gain.high))  # + 0.0: no "-0.000"
    return f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]"


def _half_interval(gain: Difference | None) -> str:
    if gain is None:
        return ""
    return f"{round(gain.value, 3) + 0.0:+.3f} ±{max(gain.high - gain.value, gain.value - gain.low):.3f}"

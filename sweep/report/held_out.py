"""TODO-DOC"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from sweep.results.held_out import HeldOutRow


def held_out_table(rows: Sequence[HeldOutRow]) -> Table:
    """Policies on the test split; differences to similarity with their 95 % intervals."""
    shots = len(rows[0].accuracy) if rows and rows[0].accuracy else 0
    title = "Held-out test queries (a no_op trial selects what rce_only selects)"
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    columns = ["policy", *(f"accuracy, {shot}-shot" for shot in range(1, shots + 1))]
    columns += ["minus similarity [95 %]"] if shots else []
    columns += ["expected reward", "minus similarity [95 %]", "loss"]
    for column in columns:
        table.add_column(column, justify="left" if column == "policy" else "right")
    for row in rows:
        accuracy = [f"{value:.3f}" for value in row.accuracy or ()]
        gains = [_interval(row.accuracy_gain)] if shots else []
        reward = [f"{row.reward:.3f}", _interval(row.reward_gain), _loss(row.loss)]
        table.add_row(row.name, *accuracy, *gains, *reward)
    return table


def _loss(value: float) -> str:
    """The listwise losses are undefined where no test group has contrast."""
    return f"{value:.4f}" if math.isfinite(value) else "undefined"


def _interval(gain: tuple[float, float, float] | None) -> str:
    if gain is None:
        return ""
    middle, low, high = (round(value, 3) + 0.0 for value in gain)  # + 0.0: no "-0.000"
    return f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]"

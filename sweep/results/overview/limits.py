"""What a chart shows at first: a few values far away must not flatten all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweep.evaluation.wording import counted
from sweep.results.overview.model import Axis

REACH = 3.0
"""Beyond the middle 80 % of the values, in widths of it, nothing is shown at first."""
MARGIN = 0.05
FEWEST = 5


def limited(title: str, values: Sequence[float]) -> tuple[Axis, tuple[str, ...]]:
    """An axis for finite values of which lower is better, and a sentence on those above it."""
    if len(values) < FEWEST:
        return Axis(title), ()
    low, high = np.quantile(values, [0.1, 0.9]).tolist()
    top = high + REACH * (high - low)
    above = sum(value > top for value in values)
    if not above or low == high:
        return Axis(title), ()
    bottom = min(values)
    highest = max(value for value in values if value <= top)
    room = MARGIN * (highest - bottom)
    verb = "lies" if above == 1 else "lie"
    note = f"{counted(above, 'point')} {verb} above the chart, up to {max(values):.4g}. A double click shows all."
    return Axis(title, bottom=bottom - room, top=highest + room), (note,)

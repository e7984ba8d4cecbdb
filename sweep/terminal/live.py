"""What both kinds of progress share: a part of the terminal that is drawn anew while something runs, and a clock.

Off a terminal nothing is drawn; lines are printed there now and then (`HEARTBEAT_SECONDS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console, RenderableType
from rich.live import Live

HEARTBEAT_SECONDS = 15.0
DRAWN_PER_SECOND = 4
BLOCKS = "▁▂▃▄▅▆▇█"
NOT_FINITE = "x"


def live_view(console: Console, draw: Callable[[], RenderableType]) -> AbstractContextManager[object]:
    """A context in which the terminal shows what `draw` returns, and which leaves nothing of it behind.

    What others print to stdout and stderr meanwhile is not caught: it goes to a run's log (`console.quiet`).
    """
    if not console.is_terminal:
        return nullcontext()
    return Live(
        console=console,
        get_renderable=draw,
        refresh_per_second=DRAWN_PER_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: `0:01:05`."""
    whole = int(seconds)
    return f"{whole // 3600:d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve as one sign per value, low to high between its own extremes. Values that are not finite are an x.

    Args:
        values: in their order.
        width: signs at most. Of a longer curve equally spaced values are shown, the last one among them.
    """
    count = min(width, len(values))
    shown = [values[(place + 1) * len(values) // count - 1] for place in range(count)]
    finite = [value for value in shown if math.isfinite(value)]
    low, span = (min(finite), max(finite) - min(finite)) if finite else (0.0, 0.0)
    return "".join(_block((value - low) / (span or 1.0)) for value in shown)


def _block(height: float) -> str:
    return BLOCKS[round(height * (len(BLOCKS) - 1))] if math.isfinite(height) else NOT_FINITE

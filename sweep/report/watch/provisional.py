"""A small report, until `sweep report` gives the large one: the trials, each with its curve of val_loss."""

from __future__ import annotations

import math
from html import escape

from sweep.results.status import RunStatus, read_status
from sweep.runs.paths import RunPaths
from sweep.terminal.words import brief_params
from sweep.trials.stored import read_history

WIDTH, HEIGHT = 160, 28


def report_html(paths: RunPaths) -> str:
    """One page without anything from elsewhere."""
    status = read_status(paths)
    rows = "".join(_row(status, place) for place in range(len(status.rows)))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>report</title><style>:root{color-scheme:light dark}"
        "body{font:15px system-ui}td,th{padding:.2rem .6rem;text-align:left}</style><table><tr><th>trial<th>state"
        f"<th>epochs<th>val_loss<th>curve<th>parameters</tr>{rows}</table></html>"
    )


def _row(status: RunStatus, place: int) -> str:
    row = status.rows[place]
    values = [one.val_loss for one in read_history(status.paths.trial(row.number).history_file)]
    best = "" if row.reached[0] is None else f"{row.reached[0]:.4f}"
    cells = (str(row.number), status.state_of(row), str(row.last_step or 0), best)
    text = "".join(f"<td>{escape(cell)}" for cell in cells)
    return f"<tr>{text}<td>{_curve(values)}<td>{escape(brief_params(row.params))}</tr>"


def _curve(values: list[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    low, span = (min(finite), (max(finite) - min(finite)) or 1.0) if finite else (0.0, 1.0)
    points = " ".join(
        f"{WIDTH * place / max(len(values) - 1, 1):.1f},{HEIGHT * (1 - (value - low) / span):.1f}"
        for place, value in enumerate(values)
        if math.isfinite(value)
    )
    line = f'<polyline points="{points}" fill="none" stroke="currentColor"/>'
    return f'<svg width="{WIDTH}" height="{HEIGHT}">{line}</svg>'

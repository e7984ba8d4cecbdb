"""Charts of a document as figures of plotly.js: plain dictionaries, so plotly itself is not imported.

Text of a run may be a stranger's. plotly takes a part of HTML for markup, so every text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from sweep.results.overview.model import Axis, Chart, Dimension, Mark, Parallel, Path, Role, Series

COLOURS = {
    Role.FIRST: "#2a78b8",
    Role.SECOND: "#d1553a",
    Role.THIRD: "#2f9150",
    Role.FOURTH: "#a87b16",
    Role.FIFTH: "#9a5fc0",
    Role.QUIET: "#7d858c",
}
"""Each has a contrast of 3.7 or more to both backgrounds, and they differ for people who see no red and green."""
SYMBOLS = {Role.FIRST: "circle", Role.SECOND: "diamond", Role.FOURTH: "x-thin-open", Role.QUIET: "circle-open"}
EDGE = "#7d858c"
SHADES = (Role.FIRST, Role.THIRD, Role.FOURTH, Role.QUIET, Role.QUIET)
"""Of the fifths by val_loss, best first."""
MOST_TICKS = 16
UNUSED = -0.12
"""Where a line goes that does not use a parameter: below the axis."""
Figure = dict[str, Any]


def figure_of(chart: Chart | Parallel) -> Figure:
    """`data` and `layout` as `Plotly.newPlot` takes them."""
    return _parallel(chart) if isinstance(chart, Parallel) else _figure(chart)


def _figure(chart: Chart) -> Figure:
    named = len([one for one in chart.series if one.mark is not Mark.BAND]) > 1
    bars = any(one.mark is Mark.BARS for one in chart.series)
    height = 120 + 34 * max((len(one.y) for one in chart.series), default=1) * len(chart.series) if bars else 360
    layout = {
        **_layout(height),
        "showlegend": named,
        "barmode": "group",
        "xaxis": _axis(chart.x),
        "yaxis": _axis(chart.y),
        "shapes": [*_edges(chart.x, "x"), *_edges(chart.y, "y")],
    }
    if _few_whole([one for series in chart.series for one in series.x]):
        layout["xaxis"] |= {"dtick": 1}
    if bars:
        layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    return {"data": [trace for one in chart.series for trace in _traces(one)], "layout": layout}


def _few_whole(values: Sequence[float | str]) -> bool:
    """Whether they are whole numbers so close that each can have its tick."""
    numbers = [value for value in values if not isinstance(value, str) and value == int(value)]
    return bool(numbers) and len(numbers) == len(values) and max(numbers) - min(numbers) <= MOST_TICKS


def _layout(height: int) -> Figure:
    return {
        "height": height,
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": EDGE},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "bgcolor": "rgba(0,0,0,0)"},
        "hoverlabel": {"bgcolor": "#20252a", "font": {"color": "#ffffff"}, "align": "left"},
        "hovermode": "closest",
    }


def _axis(axis: Axis) -> Figure:
    found: Figure = {"title": {"text": _safe(axis.title)}, "automargin": True, "zeroline": False, "gridcolor": EDGE}
    if axis.log:
        found |= {"type": "log", "dtick": 1, "exponentformat": "power"}
    if axis.top is not None:
        found |= {"range": [axis.bottom, axis.top]}
    return found


def _edges(axis: Axis, letter: str) -> list[Figure]:
    """Lines across the chart."""
    other = "y" if letter == "x" else "x"
    line = {"type": "line", "line": {"color": EDGE, "width": 1.5, "dash": "dash"}, f"{other}ref": f"{other} domain"}
    return [
        {**line, f"{letter}0": edge, f"{letter}1": edge, f"{other}0": 0, f"{other}1": 1}
        for edge in axis.edges
        if not axis.log or edge > 0
    ]


def _traces(series: Series) -> Iterator[Figure]:
    colour = COLOURS[series.role]
    if series.mark is Mark.BAND:
        yield from _band(series, colour)
        return
    quiet = series.role is Role.QUIET and series.mark is Mark.LINE and not series.low
    trace: Figure = {
        "type": "scatter",
        "name": _safe(series.name),
        "x": _texts(series.x),
        "y": _texts(series.y),
        "hovertext": [_safe(label) for label in series.labels],
        "hoverinfo": "text" if series.labels else "skip" if quiet else "x+y+name",
    }
    match series.mark:
        case Mark.BARS:
            trace |= {"type": "bar", "orientation": "h", "marker": {"color": colour}}
        case Mark.POINTS:
            symbol = SYMBOLS.get(series.role, "circle")
            marker = {"color": colour, "size": 8, "symbol": symbol, "line": {"color": colour, "width": 1.5}}
            trace |= {"mode": "markers", "marker": marker}
        case _:
            shape = "hv" if series.mark is Mark.STEPS else "linear"
            few = len(series.x) <= 8 and not quiet
            width = 1 if quiet else 2
            trace |= {"mode": "lines+markers" if few else "lines", "connectgaps": False}
            trace |= {"line": {"color": colour, "width": width, "shape": shape}, "opacity": 0.4 if quiet else 1}
    if series.low:
        across = "x" if series.mark is Mark.BARS else "y"
        values = [value for value in (series.x if across == "x" else series.y) if isinstance(value, int | float)]
        trace[f"error_{across}"] = _whiskers(values, series)
    yield trace


def _whiskers(values: Sequence[float], series: Series) -> Figure:
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, high in zip(values, series.high, strict=True)],
        "arrayminus": [value - low for value, low in zip(values, series.low, strict=True)],
        "thickness": 1.2,
        "width": 3,
        "color": EDGE if series.mark is Mark.BARS else COLOURS[series.role],
    }


def _band(series: Series, colour: str) -> Iterator[Figure]:
    """Two lines that nobody sees, and what is between them."""
    line = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "x": _texts(series.x)}
    yield {**line, "y": list(series.low), "showlegend": False}
    fill = {"fill": "tonexty", "fillcolor": f"{colour}33"}
    yield {**line, "y": list(series.high), "name": _safe(series.name), **fill}


def _parallel(chart: Parallel) -> Figure:
    """Lines across vertical axes, coloured by fifths of val_loss. Drawn as lines, which print and need no WebGL."""
    groups = _fifths(chart.paths)
    data = []
    for place, paths in reversed(list(enumerate(groups))):  # the best are drawn last, on top
        x: list[float | None] = []
        y: list[float | None] = []
        labels: list[str] = []
        for path in paths:
            crossed = list(zip(chart.dimensions, path.values, strict=True))
            label = f"trial {path.trial}, val_loss {path.val_loss:.4f}"
            x += [*range(len(crossed)), None]
            y += [*(_height(one, value) for one, value in crossed), None]
            labels += [*(f"{label}<br>{_safe(one.name)}: {_shown(one, value)}" for one, value in crossed), ""]
        best = place == 0
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"fifth {place + 1}" + (" (the best)" if best else ""),
                "x": x,
                "y": y,
                "hovertext": labels,
                "hoverinfo": "text",
                "opacity": 0.9 if best else 0.45,
                "line": {"color": COLOURS[SHADES[place]], "width": 2.2 if best else 1.2},
            }
        )
    axis = {
        "tickmode": "array",
        "tickvals": list(range(len(chart.dimensions))),
        "ticktext": [_broken(one.name) for one in chart.dimensions],
        "automargin": True,
        "zeroline": False,
        "range": [-0.3, len(chart.dimensions) - 0.7],
    }
    layout = {
        **_layout(430),
        "xaxis": {**axis, "showgrid": True, "gridcolor": EDGE},
        "yaxis": {"visible": False, "range": [-0.2, 1.12]},
        "annotations": [
            mark
            for place, one in enumerate(chart.dimensions)
            for mark in _ends(place, one, last=place == len(chart.dimensions) - 1)
        ],
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "reversed"},
    }
    return {"data": data, "layout": layout}


def _fifths(paths: Sequence[Path]) -> list[list[Path]]:
    size = math.ceil(len(paths) / len(SHADES))
    found = [list(paths[start : start + size]) for start in range(0, len(paths), size)]
    return [group for group in found if group]


def _height(dimension: Dimension, value: float | None) -> float:
    """Between 0 and 1 on its axis."""
    if value is None:
        return UNUSED
    low, high = dimension.low, dimension.high
    if dimension.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else 0.5


def _shown(dimension: Dimension, value: float | None) -> str:
    if value is None:
        return "not in use"
    return _safe(dimension.choices[int(value)]) if dimension.choices else f"{value:.3g}"


def _ends(place: int, dimension: Dimension, *, last: bool) -> Iterator[Figure]:
    """The values at the ends of an axis, or the names of all choices where they are few."""
    ends = [(0.0, f"{dimension.low:.3g}"), (1.0, f"{dimension.high:.3g}")]
    if dimension.choices:
        top = max(len(dimension.choices) - 1, 1)
        ends = [(number / top, _safe(name)) for number, name in enumerate(dimension.choices)]
    for height, text in ends:
        middle = len(dimension.choices) > 2
        yield {
            "x": place,
            "y": height,
            "text": text,
            "showarrow": False,
            "xanchor": "center" if not middle else "right" if last else "left",
            "xshift": 0 if not middle else -4 if last else 4,
            "yshift": 0 if middle else 12 if height == 1 else -12,
            "font": {"size": 11},
        }


def _broken(name: str) -> str:
    """A dotted path over two lines, so that several fit beside each other."""
    return _safe(name).replace(".", ".<br>")


def _texts(values: Sequence[float | str | None]) -> list[float | str | None]:
    return [_safe(value) if isinstance(value, str) else value for value in values]


def _safe(text: str) -> str:
    return escape(text, quote=False)

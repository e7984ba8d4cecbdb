"""What mattered: val_loss over each parameter."""

from __future__ import annotations

import math

from sweep.results.overview.model import Axis, Block, Chart, Mark, Role, Section, Series, Text
from sweep.results.overview.sources import Sources
from sweep.space.parameters import CategoricalParameter, FixedParameter, Parameter

SLICES = 12
"""Parameters that have a chart of their own."""


def settings_section(sources: Sources) -> Section:
    """Importance, then val_loss over every parameter."""
    varied = {name: one for name, one in sources.space.parameters.items() if not isinstance(one, FixedParameter)}
    if not varied:
        return Section("settings", "What mattered", (Text(("Nothing varies: every trial has the same settings.",)),))
    blocks: list[Block] = []
    for name, parameter in list(varied.items())[:SLICES]:
        blocks += [chart] if (chart := _slice(sources, name, parameter)) is not None else []
    return Section("settings", "What mattered", tuple(blocks))


def _slice(sources: Sources, name: str, parameter: Parameter) -> Chart | None:
    """val_loss of complete trials over one parameter. The lines are the ends of its range."""
    known = [
        (row, row.params[name], row.value)
        for row in sources.complete
        if name in row.params and row.value is not None and math.isfinite(row.value)
    ]
    if len(known) < 2:
        return None
    is_choice = isinstance(parameter, CategoricalParameter)
    x = tuple(str(value) if is_choice else float(value) for _, value, _ in known)
    y = tuple(loss for _, _, loss in known)
    labels = tuple(f"trial {row.number}: {name} {value}, val_loss {loss:.4f}" for row, value, loss in known)
    best = min(range(len(known)), key=lambda place: y[place])
    series = (
        Series("complete trials", Mark.POINTS, x, y, Role.FIRST, labels=labels),
        Series("the best", Mark.POINTS, (x[best],), (y[best],), Role.SECOND, labels=(labels[best],)),
    )
    axis = Axis(name)
    alt = f"val_loss of {len(known)} complete trials over {name}. The best has {known[best][1]}"
    if not isinstance(parameter, CategoricalParameter | FixedParameter):
        axis = Axis(name, parameter.log, (parameter.low, parameter.high))
        alt += f", in a range from {parameter.low:g} to {parameter.high:g}"
    return Chart(f"slice_{name}", name, axis, Axis("val_loss (lower is better)"), series, f"{alt}.")

"""What mattered: importance with its interval, the plain association beside it, and val_loss over each parameter."""

from __future__ import annotations

import math

from sweep.results.importance import Importance, Target
from sweep.results.importance import Interval as Ends
from sweep.results.overview.limits import limited
from sweep.results.overview.model import (
    Axis,
    Block,
    Chart,
    Column,
    Format,
    Interval,
    Mark,
    Role,
    Section,
    Series,
    Table,
    Text,
    Value,
)
from sweep.results.overview.sources import Sources
from sweep.results.overview.trials import Varied, varied_parameters
from sweep.space.parameters import CategoricalParameter, FixedParameter, Parameter

SLICES = 12
"""Parameters that have a chart of their own."""


def settings_section(sources: Sources) -> Section:
    """Importance, then val_loss over every parameter."""
    varied = varied_parameters(sources.space)
    if not varied:
        return Section("settings", "What mattered", (Text(("Nothing varies: every trial has the same settings.",)),))
    by_loss, by_answers = sources.evidence.importance, sources.evidence.importance_of_answers
    blocks: list[Block] = [Text((_sentence(by_loss), _sentence(by_answers)), strong=True), *_bars(by_loss, by_answers)]
    blocks += [_table(found, sources) for found in (by_loss, by_answers) if not found.reason]
    for name, parameter in list(varied.items())[:SLICES]:
        blocks += [chart] if (chart := _slice(sources, name, parameter)) is not None else []
    return Section("settings", "What mattered", tuple(blocks))


def _sentence(found: Importance) -> str:
    """The answer in words."""
    what = "val_loss" if found.target is Target.VAL_LOSS else "accuracy by answers"
    if found.reason:
        return f"What decided {what} cannot be told: {found.reason}."
    told = [f"{one.path} (explains {_ends(one.importance)} of its variance)" for one in found.told]
    untold = [one.path for one in found.effects if not one.is_told]
    first = f"{', '.join(told)} surely mattered for {what}" if told else f"No parameter surely mattered for {what}"
    rest = f". Whether {', '.join(untold)} mattered cannot be told" if untold and told else ""
    return f"{first}{rest}."


def _ends(one: Ends | None) -> str:
    if one is None:
        return "unknown"
    ends = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
    return f"{one.value:.2f}{ends}"


def _bars(*found: Importance) -> list[Chart]:
    """Importance of each parameter, with its interval."""
    series = []
    for one, role in zip(found, (Role.FIRST, Role.SECOND), strict=True):
        known = [(effect, effect.importance) for effect in one.effects if effect.importance is not None]
        if not known:
            continue
        name = "on val_loss" if one.target is Target.VAL_LOSS else "on answers"
        series.append(
            Series(
                name,
                Mark.BARS,
                tuple(importance.value for _, importance in known),
                tuple(effect.path for effect, _ in known),
                role,
                tuple(_or(importance.low, importance.value) for _, importance in known),
                tuple(_or(importance.high, importance.value) for _, importance in known),
                tuple(f"{effect.path}, {name}: {_ends(importance)}" for effect, importance in known),
            )
        )
    if not series:
        return []
    alt = f"Importance: {'; '.join(label for one in series for label in one.labels)}."
    axes = Axis("share of the variance", bottom=0.0, top=1.0), Axis("")
    return [Chart("importance", "Importance, with 95 % intervals", *axes, tuple(series), alt)]


def _or(end: float | None, value: float) -> float:
    return value if end is None else end


def _table(found: Importance, sources: Sources) -> Table:
    """Every number of importance, and the range that was searched."""
    target = "val_loss" if found.target is Target.VAL_LOSS else "answers"
    columns = (
        Column("parameter", "parameter"),
        Column("told", "surely mattered"),
        Column("importance", "importance", Format.SHORT),
        Column("p", "p", Format.P),
        Column("association", "rank correlation, or eta squared of choices", Format.SIGNED),
        Column("measure", "which of them"),
        Column("best", "value of the best", Format.NUMBER),
        Column("range", "range"),
        Column("configurations", "configurations", Format.COUNT),
        Column("reason", "why it cannot be told"),
    )
    rows = tuple(
        (
            one.path,
            one.is_told,
            _interval(one.importance),
            one.p,
            _interval(one.association),
            one.measure.value,
            one.best_value,
            _range(sources.space.parameters[one.path]),
            one.configurations,
            one.reason,
        )
        for one in found.effects
    )
    marked = frozenset(place for place, one in enumerate(found.effects) if one.is_told)
    return Table(f"importance_{target}", f"Importance on {target}", columns, rows, marked, found.notes)


def _interval(one: Ends | None) -> Value:
    if one is None:
        return None
    return one.value if one.low is None or one.high is None else Interval(one.value, one.low, one.high)


def _range(parameter: Parameter) -> str:
    if isinstance(parameter, CategoricalParameter):
        return f"{len(parameter.choices)} choices"
    if isinstance(parameter, FixedParameter):
        return ""
    return f"{parameter.low:g} to {parameter.high:g}{', log' if parameter.log else ''}"


def _slice(sources: Sources, name: str, parameter: Varied) -> Chart | None:
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
    axis, (losses, notes) = Axis(name), limited("val_loss (lower is better)", y)
    value = known[best][1]
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    alt = f"val_loss of {len(known)} complete trials over {name}. The best has {shown}"
    if not isinstance(parameter, CategoricalParameter):
        axis = Axis(name, parameter.log, (parameter.low, parameter.high))
        alt += f", in a range from {parameter.low:g} to {parameter.high:g}"
    return Chart(f"slice_{name}", name, axis, losses, series, f"{alt}.", notes)

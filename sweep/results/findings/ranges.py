"""Findings about what was swept: ranges that are too narrow or too wide, and parameters that do nothing.

Each parameter gets at most one of them, so that their changes never contradict each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sweep.evaluation.wording import counted
from sweep.results.evidence import Evidence
from sweep.results.finding import REMOVED, Change, Code, Finding, Severity
from sweep.results.importance import Effect
from sweep.space.addresses import Scalar, addresses
from sweep.space.parameters import CategoricalParameter, FloatParameter, IntParameter
from sweep.study import FrozenTrial, TrialState
from sweep.study.summaries import configuration_key

BEST_SHARE = 8
"""The best eighth of the configurations are the best ones here, and at least `FEWEST_BEST`."""
FEWEST_BEST = 3
FEWEST = 10
"""Configurations from which a range is looked at."""
EDGE = 0.15
"""Outer share of a range, at each end."""
MOVE = 0.25
"""A range is extended by a quarter of its width, in the scale in which it is sampled, and so is what is kept below."""
WIDE = 0.4
"""A range is narrowed where the best ones take at most this share of it."""
DEAD = 0.2
"""A parameter surely does little if even the upper end of its importance is below this."""
DIGITS = 2


def ranges(evidence: Evidence) -> Iterator[Finding]:
    """At most one finding per sampled parameter."""
    best = _best(evidence)
    for effect in evidence.importance.effects:
        parameter = evidence.space.parameters[effect.path]
        values = [trial.params[effect.path] for trial in best if effect.path in trial.params]
        found = None
        if isinstance(parameter, FloatParameter | IntParameter) and len(values) >= FEWEST_BEST:
            found = _edge(effect, parameter, [float(str(value)) for value in values])
        yield from [found] if found is not None else _settled(evidence, effect, values)


def _best(evidence: Evidence) -> list[FrozenTrial]:
    """The best configurations, each once. Empty where there are too few to speak of a range."""
    value = evidence.equivalents.value
    trials = sorted(
        (one for one in evidence.trials if one.number in value), key=lambda one: (value[one.number], one.number)
    )
    once: dict[str, FrozenTrial] = {}
    for trial in trials:
        if trial.state is TrialState.COMPLETE:
            once.setdefault(configuration_key(trial.params), trial)
    if evidence.importance.configurations < FEWEST:
        return []
    return list(once.values())[: max(FEWEST_BEST, evidence.importance.configurations // BEST_SHARE)]


# Ranges -------------------------------------------------------------------------------------------------------------


def _edge(effect: Effect, parameter: FloatParameter | IntParameter, values: list[float]) -> Finding | None:
    """The best ones lie at one end: at least two thirds of them, or all where nobody knows that it matters."""
    places = [place(parameter, value) for value in values]
    low, high = sum(one <= EDGE for one in places), sum(one >= 1 - EDGE for one in places)
    needed = math.ceil(len(places) * 2 / 3) if effect.is_told else len(places)
    if max(low, high) < needed:
        return None
    end, count = ("high", high) if high >= low else ("low", low)
    bound = _extended(effect.path, parameter, end)
    if bound is None:
        return None
    was = f"{shown(parameter.low)} to {shown(parameter.high)}"
    seen = f"{count} of the best {counted(len(values), 'configuration')} lie in the {_outer(end)} {EDGE:.0%} of {was}"
    changes = [Change(("parameters", effect.path, end), bound, seen)]
    if effect.is_told:  # what lies far from them has been seen to be worse
        far = min(places) - MOVE if end == "high" else max(places) + MOVE
        other = "low" if end == "high" else "high"
        kept = _at(parameter, min(1.0, max(0.0, far)))
        if 0 < far < 1 and kept != bound:
            why = f"was {shown(getattr(parameter, other))}: what lies beyond is far from the best {len(values)}"
            changes.append(Change(("parameters", effect.path, other), kept, why))
    return Finding(
        Code.EDGE_OF_RANGE,
        Severity.LOSS,
        f"{effect.path}: the best values lie at the {end} end of the range, {shown(getattr(parameter, end))}; better "
        "ones may lie beyond",
        (f"{seen}: {', '.join(map(shown, values))}.",),
        f"move the range: {', '.join(f'{one.path[-1]} {shown(one.value)}' for one in changes)}",
        changes=tuple(changes),
    )


def _outer(end: str) -> str:
    return "upper" if end == "high" else "lower"


def _extended(path: str, parameter: FloatParameter | IntParameter, end: str) -> Scalar:
    """The bound half a range further, nearer where the setting refuses that. None if it can go no further."""
    for move in (MOVE, MOVE / 2, MOVE / 8):
        bound = _at(parameter, 1 + move if end == "high" else -move)
        if bound in (parameter.low, parameter.high):
            continue
        try:
            addresses()[path].check(bound)
            type(parameter).model_validate({**parameter.model_dump(), end: bound})
        except ValueError:
            continue
        return bound
    return None


def place(parameter: FloatParameter | IntParameter, value: float) -> float:
    """Where a value lies in its range, in the scale in which it is sampled: 0 is low, 1 is high."""
    low, high = _scaled(parameter, parameter.low), _scaled(parameter, parameter.high)
    return (_scaled(parameter, value) - low) / (high - low)


def _scaled(parameter: FloatParameter | IntParameter, value: float) -> float:
    return math.log(value) if parameter.log else float(value)


def _at(parameter: FloatParameter | IntParameter, share: float) -> float | int:
    """The value at a place of the range, or beyond it, as a person would write it; on the grid of steps."""
    low, high = _scaled(parameter, parameter.low), _scaled(parameter, parameter.high)
    found = low + share * (high - low)
    found = math.exp(found) if parameter.log else found
    if isinstance(parameter, IntParameter) or parameter.step is not None:
        step = Decimal(str(parameter.step or 1))
        steps = round((Decimal(str(found)) - Decimal(str(parameter.low))) / step)
        found_on_grid = Decimal(str(parameter.low)) + steps * step
        return int(found_on_grid) if isinstance(parameter, IntParameter) else float(found_on_grid)
    return float(f"{found:.{DIGITS}g}")


# Parameters ---------------------------------------------------------------------------------------------------------


def _settled(evidence: Evidence, effect: Effect, values: list[Scalar]) -> Iterator[Finding]:
    if effect.is_told:
        yield from _too_wide(evidence, effect, values)
    elif effect.importance is not None and effect.importance.high is not None:
        yield _dead(evidence, effect) if effect.importance.high <= DEAD else _untold(effect)
    elif not evidence.importance.reason:
        yield _untold(effect)


def _too_wide(evidence: Evidence, effect: Effect, values: list[Scalar]) -> Iterator[Finding]:
    parameter = evidence.space.parameters[effect.path]
    if isinstance(parameter, CategoricalParameter) or len(values) < FEWEST_BEST:
        return
    if not isinstance(parameter, FloatParameter | IntParameter):
        return
    places = [place(parameter, float(str(value))) for value in values]
    margin = max(0.1, (max(places) - min(places)) / 2)
    low, high = _at(parameter, max(0.0, min(places) - margin)), _at(parameter, min(1.0, max(places) + margin))
    share = place(parameter, high) - place(parameter, low)
    if share > 1 - WIDE or not low < high:
        return
    seen = f"the best {counted(len(values), 'configuration')} lie between {shown(min(values, key=_number))} and "
    seen += shown(max(values, key=_number))
    ends = (("low", low, parameter.low), ("high", high, parameter.high))
    yield Finding(
        Code.RANGE_TOO_WIDE,
        Severity.HINT,
        f"{effect.path}: good values take a part of the range only",
        (f"{seen[:1].upper()}{seen[1:]}, and the range is {shown(parameter.low)} to {shown(parameter.high)}.",),
        f"narrow it to {shown(low)} to {shown(high)}",
        changes=tuple(
            Change(("parameters", effect.path, end), now, f"was {shown(before)}: {seen}")
            for end, now, before in ends
            if now != before
        ),
    )


def _number(value: Scalar) -> float:
    return float(str(value))


def _dead(evidence: Evidence, effect: Effect) -> Finding:
    assert effect.importance is not None and effect.importance.high is not None  # noqa: S101 (the caller asked)
    upper = effect.importance.high
    parameter = evidence.space.parameters[effect.path]
    value, where = effect.best_value, "of the best trial"
    if value is None:
        return _untold(effect)
    if isinstance(value, float):
        value = float(f"{value:.{DIGITS + 1}g}")
    seen = f"explains at most {upper:.2f} of what decides {evidence.importance.target.value}"
    kept: dict[str, Any] = {"type": "fixed", "value": value}
    when = {path: list(wanted) if isinstance(wanted, tuple) else wanted for path, wanted in parameter.when.items()}
    changes = [Change(("parameters", effect.path), {**kept, **({"when": when} if when else {})}, seen)]
    for path, other in evidence.space.parameters.items():
        wanted = other.conditions().get(effect.path)
        if wanted is not None and value not in wanted:
            changes.append(Change(("parameters", path), REMOVED, f"never in use where {effect.path} is {shown(value)}"))
    return Finding(
        Code.DEAD_PARAMETER,
        Severity.WASTE,
        f"{effect.path} {seen}: sweeping it cost trials and taught nothing",
        (_numbers(effect),),
        f"fix it, at {shown(value)} {where}",
        changes=tuple(changes),
    )


def _untold(effect: Effect) -> Finding:
    numbers = () if effect.importance is None else (_numbers(effect),)
    return Finding(
        Code.CANNOT_BE_TOLD,
        Severity.HINT,
        f"{effect.path}: whether it matters cannot be told ({effect.reason})",
        numbers,
        "run more trials, or sweep fewer parameters at a time",
    )


def _numbers(effect: Effect) -> str:
    one, p = effect.importance, effect.p
    assert one is not None and one.low is not None and one.high is not None and p is not None  # noqa: S101
    return (
        f"Importance {one.value:.2f} [{one.low:.2f}, {one.high:.2f}], p {p:.3f}, over "
        f"{counted(effect.configurations, 'configuration')}."
    )


def shown(value: Scalar) -> str:
    """A value as people write it."""
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)

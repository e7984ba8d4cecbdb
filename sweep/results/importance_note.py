"""What mattered, as Markdown for optuna-dashboard, whose own page of importances knows neither pruning nor chance."""

from __future__ import annotations

from sweep.results.importance import Effect, Importance, Interval, Measure


def importance_note(found: Importance) -> str:
    """A table of the parameters, the most important first, and how its numbers came about."""
    lines = [f"**What mattered for {found.target}**", ""]
    if not found.reason:
        lines += ["| parameter | importance | alone, complete trials | known |", "| --- | --- | --- | --- |"]
        lines += [_line(one) for one in found.effects]
        lines.append("")
    return "\n".join([*lines, *found.notes])


def _line(one: Effect) -> str:
    ranks = one.measure is Measure.RANK_CORRELATION
    association = f"{_interval(one.association, '+.2f' if ranks else '.2f')}{'' if ranks else ' eta²'}"
    known = "matters" if one.is_told else one.reason or "cannot be told"
    return f"| `{one.path}` | {_interval(one.importance, '.2f')} | {association} | {known} |"


def _interval(found: Interval | None, form: str) -> str:
    if found is None:
        return ""
    ends = "" if found.low is None or found.high is None else f" [{found.low:{form}}, {found.high:{form}}]"
    return f"{found.value:{form}}{ends}"

"""The trials: the table, the history, and their parameters as parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweep.evaluation.wording import counted
from sweep.results.overview.alike import alike_table
from sweep.results.overview.limits import limited
from sweep.results.overview.model import (
    Axis,
    Block,
    Chart,
    Column,
    Dimension,
    Format,
    Mark,
    Parallel,
    Path,
    Role,
    Section,
    Series,
    Table,
    Text,
)
from sweep.results.overview.sources import Sources
from sweep.space import SearchSpace
from sweep.space.parameters import CategoricalParameter, FixedParameter, FloatParameter, IntParameter
from sweep.study import TrialState, TrialSummary
from sweep.terminal.words import brief_params

Varied = FloatParameter | IntParameter | CategoricalParameter
PATHS = 200
"""Trials in the parallel coordinates. More than these cannot be told apart."""


def trials_section(sources: Sources) -> Section:
    """All trials."""
    if not sources.rows:
        return Section("trials", "Trials", (Text(("No trial has begun.",)),))
    blocks: list[Block] = [history_chart(sources)]
    parallel = parallel_coordinates(sources)
    blocks += [parallel] if parallel is not None else []
    alike = alike_table(sources)
    return Section("trials", "Trials", (*blocks, trial_table(sources), *([alike] if alike is not None else [])))


def trial_table(sources: Sources) -> Table:
    """One row per trial: the complete ones by val_loss, then the others by number."""
    names = list(dict.fromkeys(name for row in sources.rows for name in row.params))
    columns = (
        Column("rank", "rank"),
        Column("trial", "trial"),
        Column("state", "state"),
        Column("val_loss", "best val_loss", Format.LOSS),
        Column("best_epoch", "at epoch"),
        Column("last_epoch", "of"),
        Column("agreement", "same picks as the warm-up", Format.SHARE),
        Column("verdicts", "verdicts"),
        *(Column(name, name, Format.NUMBER) for name in names),
        Column("seconds", "seconds", Format.SECONDS),
        Column("reason", "why it ended early"),
    )
    rows = tuple(
        (
            place if row.is_complete else None,
            row.number,
            sources.status.state_of(row),
            row.reached[0],
            row.reached[1],
            row.last_step,
            row.standing.agreement,
            ", ".join(row.verdicts),
            *(row.params.get(name) for name in names),
            row.duration,
            row.reason,
        )
        for place, row in enumerate(sources.rows, start=1)
    )
    note = "Only complete trials have a rank: a trial that was stopped early was never measured to its end."
    marked = frozenset({0} if sources.complete else ())
    return Table("trials", "All trials", columns, rows, marked, (note,))


def history_chart(sources: Sources) -> Chart:
    """The best val_loss of every trial in the order of their numbers, and the best complete one so far."""
    ordered = sorted(sources.rows, key=lambda row: row.number)
    kinds = (
        ("complete", Role.FIRST, [row for row in ordered if row.is_complete]),
        ("pruned", Role.FOURTH, [row for row in ordered if row.state is TrialState.PRUNED]),
        ("other", Role.QUIET, [row for row in ordered if row.state not in (TrialState.COMPLETE, TrialState.PRUNED)]),
    )
    series = [_points(name, role, rows) for name, role, rows in kinds if any(_loss(row) is not None for row in rows)]
    best = _best_so_far([row for row in ordered if row.is_complete])
    if best:
        series.append(Series("best so far", Mark.STEPS, tuple(x for x, _ in best), tuple(y for _, y in best)))
    failed = sum(row.state is TrialState.FAIL for row in ordered)
    alt = f"val_loss of {counted(len(ordered), 'trial')} in the order of their numbers."
    if best:
        alt += f" The best falls from {best[0][1]:.4f} (trial {best[0][0]}) to {best[-1][1]:.4f}."
    losses = [value for row in ordered if (value := _loss(row)) is not None]
    axis, notes = limited("best val_loss (lower is better)", losses)
    notes = (*notes, f"{counted(failed, 'trial')} failed.") if failed else notes
    return Chart("history", "Every trial, and the best so far", Axis("trial"), axis, tuple(series), alt, notes)


def _loss(row: TrialSummary) -> float | None:
    value = row.reached[0]
    return value if value is not None and math.isfinite(value) else None


def _points(name: str, role: Role, rows: Sequence[TrialSummary]) -> Series:
    known = [(row, value) for row in rows if (value := _loss(row)) is not None]
    labels = tuple(f"trial {row.number}, {name}: {value:.4f}; {brief_params(row.params)}" for row, value in known)
    return Series(
        name, Mark.POINTS, tuple(row.number for row, _ in known), tuple(v for _, v in known), role, labels=labels
    )


def _best_so_far(complete: Sequence[TrialSummary]) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for row in complete:
        value = _loss(row)
        if value is not None:
            found.append((row.number, min(value, found[-1][1]) if found else value))
    return found


def varied_parameters(space: SearchSpace) -> dict[str, Varied]:
    """What is sampled, by path."""
    return {name: one for name, one in space.parameters.items() if not isinstance(one, FixedParameter)}


def parallel_coordinates(sources: Sources) -> Parallel | None:
    """Complete trials across all parameters that vary. None with fewer than two of one of them."""
    varied = varied_parameters(sources.space)
    known = [row for row in sources.complete if _loss(row) is not None]
    if len(known) < 2 or not varied:
        return None
    shown = known if len(known) <= PATHS else _spread(known, PATHS)
    dimensions = {name: _dimension(name, one) for name, one in varied.items()}
    paths = tuple(
        Path(
            row.number,
            _loss(row) or 0.0,
            tuple(_place(dimension, row.params.get(name)) for name, dimension in dimensions.items()),
        )
        for row in shown
    )
    notes = ["Thick blue lines are the best fifth by val_loss. A line below an axis did not use that parameter."]
    if len(shown) < len(known):
        notes.append(f"Shown are {len(shown)} of {len(known)} complete trials: the best ones, and evenly more by rank.")
    best = known[0]
    alt = f"Parameters of {counted(len(shown), 'complete trial')}. The best, trial {best.number}: "
    alt += ", ".join(f"{name} {_brief(value)}" for name, value in best.params.items())
    return Parallel(
        "parallel", "Parameters of complete trials", tuple(dimensions.values()), paths, f"{alt}.", tuple(notes)
    )


def _brief(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _spread(rows: Sequence[TrialSummary], count: int) -> list[TrialSummary]:
    """The best half of `count`, and the others evenly from the rest."""
    half = count // 2
    rest = rows[half:]
    step = len(rest) / (count - half)
    return [*rows[:half], *(rest[int(place * step)] for place in range(count - half))]


def _dimension(name: str, parameter: Varied) -> Dimension:
    if isinstance(parameter, CategoricalParameter):
        choices = tuple(str(choice) for choice in parameter.choices)
        return Dimension(name, 0, len(choices) - 1, choices=choices)
    return Dimension(name, parameter.low, parameter.high, parameter.log)


def _place(dimension: Dimension, value: object) -> float | None:
    """Where a trial crosses an axis, in its own unit. None where it does not, or outside of a range of today."""
    if value is None:
        return None
    if dimension.choices:
        return dimension.choices.index(str(value)) if str(value) in dimension.choices else None
    return float(value) if isinstance(value, int | float) and dimension.low <= value <= dimension.high else None

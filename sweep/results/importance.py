"""What mattered: how much of a sweep's outcome each parameter explains, how sure that is, and in which direction.

Importance is the share of the variance of the outcome's ranks that a parameter explains beside all the others
(`sweep.results.additive` says how). Beside it stands the plain association over complete trials alone. Each repeat of a
configuration is the same point of the space, so repeats count once, with their mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from selector.arrays import BoolArray, Float64Array
from selector.seeds import derive_seed
from sweep.evaluation.records import Evaluation
from sweep.evaluation.row_kinds import RowKind
from sweep.evaluation.statistics import fisher_interval, spearman
from sweep.evaluation.wording import counted
from sweep.results.additive import SMALL, Factor, categorical, numeric, shares
from sweep.results.association import eta_interval, eta_squared
from sweep.results.equivalents import equivalents
from sweep.settings.evaluation import LEVEL
from sweep.space import SearchSpace
from sweep.space.addresses import Scalar
from sweep.space.parameters import CategoricalParameter, Parameter
from sweep.study import FrozenTrial, TrialState
from sweep.study.summaries import configuration_key

FEWEST_CONFIGURATIONS = 8
"""Below this many, no order of the trials is rare enough to be told from chance."""
FEWEST_ACTIVE = 6
FEWEST_ROWS = 10
"""Evaluated trials from which answers are explained."""


class Target(StrEnum):
    """What is explained."""

    VAL_LOSS = "val_loss"
    ANSWERS = "answers"


class Measure(StrEnum):
    """The plain association of one parameter with the outcome."""

    RANK_CORRELATION = "rank correlation"  # Spearman, in [-1, 1]
    ETA_SQUARED = "eta squared"  # of Kruskal & Wallis (H - k + 1) / (n - k), in [0, 1]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval. Both ends are None where there are too few trials for one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Effect:
    """One parameter.

    Attributes:
        path: its dotted path.
        configurations: those in which it is in use, and of which the outcome is known.
        values: how many different values they have.
        importance: share of the variance explained where it is in use, in [0, 1]. None where `reason` says why not.
        p: that it explains nothing, by permutation of what the others leave unexplained, corrected for the number of
            parameters. None without importance.
        is_told: whether it surely explains something worth a change: p is at most 0.05, and the share at least 0.02.
            How much, the interval says. Where p is above 0.05, the interval begins at 0.
        reason: why nothing can be said, in a phrase. Empty where something can.
        measure: which association stands beside it.
        association: over complete trials (for answers: over evaluated ones). Positive: larger values have a larger
            val_loss, or more correct answers. None where the parameter or the outcome does not vary, or for few trials.
        best_value: of the best configuration. None where the parameter is not in use there.
    """

    path: str
    configurations: int
    values: int
    importance: Interval | None
    p: float | None
    is_told: bool
    reason: str
    measure: Measure
    association: Interval | None
    best_value: Scalar


@dataclass(frozen=True)
class Importance:
    """All parameters, the most important first.

    Attributes:
        target: what is explained.
        effects: one for each sampled parameter.
        configurations: behind the importance.
        complete: complete trials behind the association.
        pruned: pruned trials that the importance uses as well.
        left_out: trials without an outcome.
        explained: share of the variance that all parameters explain together. The rest is noise, or effects of
            combinations. None where nothing was computed.
        order_kept: as in `Equivalents`. None for answers.
        reason: why nothing was computed, in a phrase. Empty otherwise.
    """

    target: Target
    effects: tuple[Effect, ...]
    configurations: int
    complete: int
    pruned: int
    left_out: int
    explained: float | None
    order_kept: float | None
    reason: str

    @property
    def told(self) -> tuple[Effect, ...]:
        """Parameters that surely matter."""
        return tuple(one for one in self.effects if one.is_told)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the numbers came about, and what limits them, in sentences."""
        return tuple(_notes(self))


def importance_of_val_loss(space: SearchSpace, trials: Sequence[FrozenTrial]) -> Importance:
    """What decided val_loss.

    Args:
        space: whose parameters the trials have.
        trials: all of the study, in any state. Complete and pruned ones count.
    """
    found = equivalents(trials, space.pruning_starts)
    complete = {one.number: found.value[one.number] for one in trials if one.state is TrialState.COMPLETE}
    counts = _Counts(len(complete), found.pruned, found.left_out, found.order_kept)
    return _importance(space, trials, Target.VAL_LOSS, found.value, complete, counts)


def importance_of_answers(
    space: SearchSpace, trials: Sequence[FrozenTrial], evaluation: Evaluation | None
) -> Importance:
    """What decided the accuracy of answers, over the trials that were evaluated."""
    rows = () if evaluation is None else evaluation.rows
    found = {
        row.trial: row.ranked_by.value
        for row in rows
        if row.kind is RowKind.TRIAL and row.trial is not None and row.ranked_by is not None
    }
    known = {one.number: found[one.number] for one in trials if one.number in found}
    return _importance(space, trials, Target.ANSWERS, known, known, _Counts(len(known), 0, len(trials) - len(known)))


@dataclass(frozen=True)
class _Counts:
    complete: int
    pruned: int
    left_out: int
    order_kept: float | None = None


@dataclass(frozen=True, eq=False)
class _Column:
    """A parameter over configurations: where it is in use, and its values there as numbers (of levels: categorical)."""

    path: str
    parameter: Parameter
    values_N: Float64Array
    active_N: BoolArray

    @property
    def is_categorical(self) -> bool:
        return isinstance(self.parameter, CategoricalParameter)

    @property
    def levels(self) -> int:
        return len(np.unique(self.values_N[self.active_N]))

    def factor(self) -> Factor:
        if self.is_categorical:
            return categorical(self.values_N.astype(np.int64), self.active_N)
        return numeric(self.values_N, self.active_N)

    @property
    def why_not(self) -> str:
        """Why nothing can be said of it. Empty where something can."""
        count = int(self.active_N.sum())
        if count < FEWEST_ACTIVE:
            return f"in use in {counted(count, 'configuration')} only, it takes {FEWEST_ACTIVE}"
        return "" if self.levels > 1 else "all configurations have one value of it"


def _importance(
    space: SearchSpace,
    trials: Sequence[FrozenTrial],
    target: Target,
    outcome: Mapping[int, float],
    plain: Mapping[int, float],
    counts: _Counts,
) -> Importance:
    params, mean_N = _configurations(trials, outcome)
    columns = [_column(space, path, params) for path in space.distributions]
    plain_params, plain_N = _configurations(trials, plain)
    plain_columns = [_column(space, path, plain_params) for path in space.distributions]
    reason = _too_little(target, mean_N)
    usable = [] if reason else [column for column in columns if not column.why_not]
    found, explained = _shares(usable, mean_N) if usable else ({}, None)
    best = None
    if len(mean_N):
        best = params[int(np.argmin(mean_N) if target is Target.VAL_LOSS else np.argmax(mean_N))]
    effects = []
    for column, beside in zip(columns, plain_columns, strict=True):
        importance, p = found.get(column.path, (None, None))
        is_told = p is not None and p <= LEVEL and importance is not None and importance.value >= SMALL
        effects.append(
            Effect(
                path=column.path,
                configurations=int(column.active_N.sum()),
                values=column.levels,
                importance=importance,
                p=p,
                is_told=is_told,
                reason="" if is_told else reason or column.why_not or _untold(p),
                measure=Measure.ETA_SQUARED if column.is_categorical else Measure.RANK_CORRELATION,
                association=_association(beside, plain_N),
                best_value=None if best is None else best.get(column.path),
            )
        )
    effects.sort(key=lambda one: (not one.is_told, -(one.importance.value if one.importance else -1.0)))
    return Importance(
        target,
        tuple(effects),
        len(mean_N),
        counts.complete,
        counts.pruned,
        counts.left_out,
        explained,
        counts.order_kept,
        reason,
    )


def _untold(p: float | None) -> str:
    if p is not None and p <= LEVEL:
        return f"it explains less than {SMALL}"
    return "chance alone explains as much"


def _too_little(target: Target, mean_N: Float64Array) -> str:
    fewest = FEWEST_CONFIGURATIONS if target is Target.VAL_LOSS else FEWEST_ROWS
    if len(mean_N) < fewest:
        what = "with a value" if target is Target.VAL_LOSS else "with answers"
        return f"{counted(len(mean_N), 'configuration')} {what}, it takes {fewest}"
    return "" if len(np.unique(mean_N)) > 1 else f"all configurations have the same {target.value}"


def _configurations(
    trials: Sequence[FrozenTrial], outcome: Mapping[int, float]
) -> tuple[list[dict[str, Scalar]], Float64Array]:
    """The parameters of each configuration with an outcome, and the mean of it over its repeats."""
    members: dict[str, list[float]] = {}
    params: dict[str, dict[str, Scalar]] = {}
    for trial in trials:
        if trial.number in outcome:
            key = configuration_key(trial.params)
            members.setdefault(key, []).append(outcome[trial.number])
            params.setdefault(key, dict(trial.params))
    return list(params.values()), np.array([np.mean(values) for values in members.values()], dtype=np.float64)


def _column(space: SearchSpace, path: str, params: Sequence[Mapping[str, Scalar]]) -> _Column:
    parameter = space.parameters[path]
    active_N = np.array([path in one for one in params], dtype=np.bool_)
    if isinstance(parameter, CategoricalParameter):
        levels = list(parameter.choices)
        values = [float(levels.index(one[path])) if path in one else 0.0 for one in params]
    else:
        values = [float(one.get(path) or 0.0) for one in params]
    return _Column(path, parameter, np.array(values, dtype=np.float64), active_N)


def _shares(columns: Sequence[_Column], mean_N: Float64Array) -> tuple[dict[str, tuple[Interval, float]], float]:
    found, explained = shares([column.factor() for column in columns], mean_N, derive_seed("importance"))
    return {
        column.path: (Interval(share.value, share.low, share.high), share.p)
        for column, share in zip(columns, found, strict=True)
    }, explained


def _association(column: _Column, outcome_N: Float64Array) -> Interval | None:
    values_A, outcome_A = column.values_N[column.active_N], outcome_N[column.active_N]
    if len(outcome_A) < 3 or np.unique(values_A).size < 2 or np.unique(outcome_A).size < 2:
        return None
    if not column.is_categorical:
        rho = spearman(values_A, outcome_A)
        low, high = fisher_interval(rho, len(outcome_A)) or (None, None)
        return Interval(rho, low, high)
    value = eta_squared(values_A, outcome_A)
    if len(outcome_A) < FEWEST_CONFIGURATIONS or math.isnan(value):
        return None if math.isnan(value) else Interval(value, None, None)
    return Interval(value, *eta_interval(values_A, outcome_A, value))


# Words ------------------------------------------------------------------------------------------------------------


def _notes(found: Importance) -> Iterator[str]:
    if found.reason:
        yield f"Nothing can be said of what decided {found.target.value}: {found.reason}."
        return
    yield (
        f"Importance is the share of the variance of {found.target.value} (as ranks) that a parameter explains beside "
        f"the others, over {counted(found.configurations, 'configuration')}. A conditional parameter counts where it "
        "is in use. Intervals (95 %) come from resampling configurations."
    )
    unsized = [one.path for one in found.told if one.importance and not (one.importance.low or 0.0) >= SMALL]
    if unsized:
        yield (
            f"That {' and '.join(unsized)} matters is sure. How much cannot be told from so few trials: "
            "the interval begins near 0."
        )
    if found.explained is not None:
        yield (
            f"All parameters together explain {found.explained:.2f}. The rest is noise, or effects of combinations, "
            "which importance does not see."
        )
    yield (
        "The rank correlation (of choices: eta squared) looks at one parameter alone, over complete trials alone. A "
        "sampler that learns, and a pruner, make the two differ."
        if found.target is Target.VAL_LOSS
        else "Only trials of low val_loss were evaluated, which weakens every effect."
    )
    if found.pruned:
        kept = (
            ""
            if found.order_kept is None
            else (
                " Among complete trials, the order at those epochs agrees with the final one by "
                f"{found.order_kept:+.2f} (rank correlation)."
            )
        )
        yield (
            f"{counted(found.pruned, 'pruned trial')} took part, compared at equal epochs: each counts as if it had "
            f"ended where it stood when it was stopped. Without them the worst settings would be missing.{kept}"
        )

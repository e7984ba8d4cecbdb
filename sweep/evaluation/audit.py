"""The audit of metrics: which number of the validation split ranks the evaluated rows as their answers do.

Legend: R rows, M metrics, B replicates.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from selector.arrays import Float64Array
from selector.seeds import derive_seed
from sweep.evaluation.records import AuditRecord, RulerRecord
from sweep.evaluation.statistics import fisher_interval
from sweep.evaluation.wording import counted
from sweep.settings.evaluation import LEVEL

FEWEST_ROWS = 10
"""Below this number of rows no interval is given: resampled ranks of so few say nothing."""
RESAMPLES = 2000
TINY = 1e-9  # below it, a product of two sums of squared ranks is 0


def audit(
    metrics: Mapping[str, Float64Array], accuracy_R: Float64Array, owners: Sequence[Hashable], ranked: str, seed: int
) -> AuditRecord:
    """Spearman correlation of each metric with accuracy, and whether the trials were ranked by a bad one.

    Intervals are percentiles of a bootstrap over owners: epochs of one trial resemble each other and stay together. All
    metrics share the replicates. So two metrics are compared by the replicates of their difference, at 5 % over all
    comparisons (Bonferroni).

    Args:
        metrics: by name, [R] each, lower is better.
        accuracy_R: higher is better.
        owners: of each row: its trial, or itself.
        ranked: the metric by which trials were ranked and pruned.
        seed: of the replicates.
    """
    names, R = list(metrics), len(accuracy_R)
    rho_M = [float(_correlations(metrics[name], accuracy_R, np.ones((1, R)))[0]) for name in names]
    replicates_MB = None
    if R >= FEWEST_ROWS:
        weight_BR = _weights(owners, seed)
        replicates_MB = np.stack([_correlations(metrics[name], accuracy_R, weight_BR) for name in names])
    intervals = [
        None
        if replicates_MB is None or np.isnan(rho)
        else _wide(_interval(replicates_MB[place], LEVEL), rho, len({*owners}))
        for place, rho in enumerate(rho_M)
    ]
    rulers = tuple(
        RulerRecord(metric=name, rho=None if np.isnan(rho) else rho, interval=interval, ranked=name == ranked)
        for name, rho, interval in zip(names, rho_M, intervals, strict=True)
    )
    used = rulers[names.index(ranked)]
    if replicates_MB is None:
        why = f"Which metric ranks better cannot be told with {counted(R, 'row')}: it takes {FEWEST_ROWS}"
        return AuditRecord(rows=R, rulers=rulers, conclusion=f"{why} (evaluation.top, evaluation.epochs_per_trial).")
    better = _better(names, names.index(ranked), replicates_MB)
    return AuditRecord(rows=R, rulers=rulers, conclusion=_conclusion(used, better))


def _weights(owners: Sequence[Hashable], seed: int) -> Float64Array:
    """How often each row is in each replicate, [B, R]: owners are drawn with replacement, all rows of each."""
    numbers: dict[Hashable, int] = {}
    owner_R = np.array([numbers.setdefault(owner, len(numbers)) for owner in owners], dtype=np.int64)
    generator = np.random.default_rng(derive_seed("audit of metrics", seed))
    count = len(numbers)
    return generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)[:, owner_R].astype(np.float64)


def _correlations(values_R: Float64Array, accuracy_R: Float64Array, weight_BR: Float64Array) -> Float64Array:
    """Spearman's rho with mid-ranks for ties, rows taken as often as they weigh, [B].

    NaN where a side does not vary, is not a number, or has fewer than three rows.
    """
    if not np.isfinite(values_R).all() or len(values_R) < 3:
        return np.full(len(weight_BR), np.nan)
    x_BR, y_BR = (_centred_ranks(side_R, weight_BR) for side_R in (values_R, accuracy_R))
    square_B = (weight_BR * x_BR**2).sum(axis=1) * (weight_BR * y_BR**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho_B = (weight_BR * x_BR * y_BR).sum(axis=1) / np.sqrt(square_B)
    return np.asarray(np.where(square_B > TINY, rho_B, np.nan).round(9), dtype=np.float64)


def _centred_ranks(values_R: Float64Array, weight_BR: Float64Array) -> Float64Array:
    """Mid-ranks among the rows of a replicate, minus their mean, [B, R]."""
    below_RR = (values_R[:, None] < values_R[None, :]).astype(np.float64)
    equal_RR = (values_R[:, None] == values_R[None, :]).astype(np.float64)
    rank_BR = weight_BR @ below_RR + weight_BR @ equal_RR / 2
    mean_B1 = (weight_BR * rank_BR).sum(axis=1, keepdims=True) / weight_BR.sum(axis=1, keepdims=True)
    return np.asarray(rank_BR - mean_B1, dtype=np.float64)


def _interval(draws_B: Float64Array, level: float) -> tuple[float, float] | None:
    known_B = draws_B[~np.isnan(draws_B)]
    if not len(known_B):
        return None
    low, high = np.quantile(known_B, [level / 2, 1 - level / 2]).round(9).tolist()
    return low, high


def _wide(interval: tuple[float, float] | None, rho: float, owners: int) -> tuple[float, float] | None:
    """An interval of no width is that of a perfect order, which every replicate repeats. Fisher's takes its place."""
    return interval if interval is None or interval[0] < interval[1] else fisher_interval(rho, owners)


def _better(names: Sequence[str], used: int, replicates_MB: Float64Array) -> list[str]:
    """Metrics that surely rank the rows better than the one in use."""
    level = LEVEL / max(len(names) - 1, 1)
    found = []
    for place, name in enumerate(names):
        interval = _interval(replicates_MB[used] - replicates_MB[place], level) if place != used else None
        if interval is not None and interval[0] > 0:
            found.append(name)
    return found


def _conclusion(used: RulerRecord, better: Sequence[str]) -> str:
    name = used.metric
    if better:
        return (
            f"Trials were ranked and pruned by {name}, which ranks these rows worse than {', '.join(better)}: set "
            "validation.metric to a better one."
        )
    if used.interval is None:
        return f"{name} or the accuracy does not vary over these rows, so nothing can be said of it."
    if used.interval[0] > 0:
        return f"{name}, by which trials were ranked and pruned, ranks these rows the wrong way round."
    if used.interval[1] < 0:
        return f"{name}, by which trials were ranked and pruned, ranks these rows as it should. None is surely better."
    return (
        f"It is not sure that {name}, by which trials were ranked and pruned, ranks these rows at all. No other metric "
        "is surely better."
    )

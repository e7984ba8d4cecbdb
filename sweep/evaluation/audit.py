"""The audit of metrics: which number of the validation split ranks the evaluated rows as their answers do.

Legend: R rows, M metrics, B replicates.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from selector.arrays import Float64Array, Int64Array
from selector.seeds import derive_seed
from sweep.evaluation.records import AuditRecord, RulerRecord
from sweep.evaluation.statistics import mid_ranks
from sweep.evaluation.wording import counted
from sweep.settings.evaluation import LEVEL

FEWEST_ROWS = 10
"""Below this number of rows no interval is given: resampled ranks of so few say nothing."""
RESAMPLES = 2000


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
    values_MR = np.stack([metrics[name] for name in names])
    rho_M = _correlations(values_MR, accuracy_R)
    replicates_MB = _replicates(values_MR, accuracy_R, owners, seed) if R >= FEWEST_ROWS else None
    intervals = [
        None if replicates_MB is None or np.isnan(rho_M[place]) else _interval(replicates_MB[place], LEVEL)
        for place in range(len(names))
    ]
    rulers = tuple(
        RulerRecord(metric=name, rho=None if np.isnan(rho) else float(rho), interval=interval, ranked=name == ranked)
        for name, rho, interval in zip(names, rho_M, intervals, strict=True)
    )
    used = rulers[names.index(ranked)]
    if replicates_MB is None:
        why = f"Which metric ranks better cannot be told with {counted(R, 'row')}: it takes {FEWEST_ROWS}"
        return AuditRecord(rows=R, rulers=rulers, conclusion=f"{why} (evaluation.top, evaluation.epochs_per_trial).")
    better = _better(names, names.index(ranked), replicates_MB)
    return AuditRecord(rows=R, rulers=rulers, conclusion=_conclusion(used, better))


def _correlations(values_MR: Float64Array, accuracy_R: Float64Array) -> Float64Array:
    """Spearman's rho with mid-ranks for ties, [M]. NaN where a side does not vary, or is not a number."""
    found = [_correlation(values_R, accuracy_R) for values_R in values_MR]
    return np.array(found, dtype=np.float64)


def _correlation(values_R: Float64Array, accuracy_R: Float64Array) -> float:
    if not np.isfinite(values_R).all() or len(values_R) < 3 or np.ptp(values_R) == 0 or np.ptp(accuracy_R) == 0:
        return float("nan")
    x_R, y_R = (ranks_R - ranks_R.mean() for ranks_R in (mid_ranks(values_R), mid_ranks(accuracy_R)))
    return round(float(x_R @ y_R / np.sqrt((x_R @ x_R) * (y_R @ y_R))), 12)


def _replicates(
    values_MR: Float64Array, accuracy_R: Float64Array, owners: Sequence[Hashable], seed: int
) -> Float64Array:
    """Correlations over owners drawn with replacement, [M, B]. NaN where a replicate does not vary."""
    generator = np.random.default_rng(derive_seed("audit of metrics", seed))
    numbers: dict[Hashable, list[int]] = {}
    for place, owner in enumerate(owners):
        numbers.setdefault(owner, []).append(place)
    groups: list[Int64Array] = [np.array(places, dtype=np.int64) for places in numbers.values()]
    drawn_BG = generator.integers(len(groups), size=(RESAMPLES, len(groups)))
    rows = [np.concatenate([groups[place] for place in drawn_G]) for drawn_G in drawn_BG]
    return np.stack([_correlations(values_MR[:, rows_R], accuracy_R[rows_R]) for rows_R in rows], axis=1)


def _interval(draws_B: Float64Array, level: float) -> tuple[float, float] | None:
    known_B = draws_B[~np.isnan(draws_B)]
    if not len(known_B):
        return None
    low, high = np.quantile(known_B, [level / 2, 1 - level / 2]).round(9).tolist()
    return low, high


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
    if used.interval[1] < 0:
        return f"{name}, by which trials were ranked and pruned, ranks these rows as it should. None is surely better."
    return (
        f"It is not sure that {name}, by which trials were ranked and pruned, ranks these rows at all. No other metric "
        "is surely better."
    )

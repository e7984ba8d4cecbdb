"""From accuracies to the rows of the table: every comparison that is made, and the families they are corrected in.

Legend: R rows, Q questions, S numbers of shots, M measures (S numbers of shots, then their mean).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.arrays import Float64Array, Int64Array
from selector.seeds import derive_seed
from sweep.evaluation.bootstrap import Bootstrap
from sweep.evaluation.racing import Race
from sweep.evaluation.records import CorrelationRecord, Difference, Estimate, RowRecord, TrainRecord
from sweep.evaluation.rows import PolicyRow, RowKind
from sweep.evaluation.statistics import (
    Estimates,
    best_set,
    differences,
    holm,
    means,
    rank_correlation,
    unpaired_differences,
    with_mean,
)
from sweep.evaluation.wording import counted
from sweep.settings.evaluation import EvaluationSettings
from sweep.vqa.accuracy import AnswerNormalisation

DIGITS = 9  # matrix products of another width, or on other cores, differ in the last bits; records must not
CORRELATED = (RowKind.RCE_ONLY, RowKind.TRIAL, RowKind.EPOCH)


@dataclass(frozen=True, eq=False)
class Measured:
    """One row of the table before the statistics.

    Attributes:
        accuracy_QS: by the ranking metric. NaN where not seen or not answered.
        others: mean accuracy per measure under the other metrics.
        train_QS: on the train split. None where not asked.
    """

    row: PolicyRow
    accuracy_QS: Float64Array
    asked: int
    dropped_after: int | None
    failures: int
    short_pools: tuple[int, ...]
    same_as: str | None
    others: dict[AnswerNormalisation, tuple[float | None, ...]]
    train_QS: Float64Array | None


def analyse(
    rows: Sequence[Measured],
    settings: EvaluationSettings,
    race: Race,
    clusters_Q: Int64Array,
    train_clusters_Q: Int64Array | None,
) -> tuple[RowRecord, ...]:
    """All rows of the table, best first. Rows that racing dropped come last.

    Args:
        rows: with distinct names. One is the baseline's.
        settings: the evaluation's.
        race: what racing has spent.
        clusters_Q: unit of resampling per question.
        train_clusters_Q: the same for the questions of the train split.
    """
    accuracy_RQM = with_mean(np.stack([row.accuracy_QS for row in rows]))
    share_R = np.array([race.share(row.row.kind.races, row.dropped_after is None) for row in rows])
    rank = settings.rank_column
    bootstrap = Bootstrap(clusters_Q, settings.resamples, settings.seed)
    found = means(bootstrap, accuracy_RQM, share_R)
    entered_R = _entered(rows)
    order = _order(rows, entered_R, found.value[:, rank])
    baseline = next(index for index, row in enumerate(rows) if row.row.name == settings.baseline)
    others = [index for index in range(len(rows)) if index != baseline]
    over_baseline = differences(bootstrap, accuracy_RQM, [(index, baseline) for index in others], share_R)
    neighbours = list(itertools.pairwise(order))
    over_next = differences(bootstrap, accuracy_RQM[:, :, rank : rank + 1], neighbours, share_R)
    best_p = _best_p(bootstrap, entered_R, accuracy_RQM[:, :, rank])
    trains = _train_records(rows, settings, bootstrap, accuracy_RQM, share_R, train_clusters_Q)
    main = difference_records(over_baseline, slice(rank, rank + 1))
    by_shot = difference_records(over_baseline, slice(0, len(settings.shot_numbers)))
    nexts = difference_records(over_next, slice(0, 1))
    records = []
    for place, index in enumerate(order):
        row, estimates = rows[index], _estimates(found, index)
        compared = others.index(index) if index != baseline else None
        p = best_p.get(index)
        records.append(
            RowRecord(
                **{name: getattr(row.row, name) for name in PolicyRow.__dataclass_fields__},
                rank=place + 1,
                asked=row.asked,
                dropped_after=row.dropped_after,
                failures=row.failures,
                short_pools=row.short_pools,
                same_as=row.same_as,
                shots=tuple(estimates[:-1]),
                mean=estimates[-1],
                ranked_by=estimates[rank],
                minus_baseline=None if compared is None else main[compared][0],
                minus_baseline_by_shot=() if compared is None else tuple(by_shot[compared]),
                next_row=rows[order[place + 1]].row.name if place + 1 < len(order) else None,
                minus_next=nexts[place][0] if place + 1 < len(order) else None,
                best_p=p,
                in_best_set=p is not None and p > race.final_level,
                other_metrics=row.others,
                train=trains.get(index),
            )
        )
    return tuple(records)


def _entered(rows: Sequence[Measured]) -> list[bool]:
    """Rows that may be the best: racing left them, and no seed of the sweep stands beside fresh ones."""
    fresh = any(row.row.kind is RowKind.FINALIST for row in rows)
    return [row.dropped_after is None and not (fresh and row.row.kind.races) for row in rows]


def _order(rows: Sequence[Measured], entered_R: Sequence[bool], value_R: Float64Array) -> list[int]:
    """Entered rows by value, then the others, those dropped later before those dropped earlier."""

    def key(index: int) -> tuple[bool, bool, int, float, int]:
        value = float(value_R[index])
        return not entered_R[index], math.isnan(value), -rows[index].asked, -np.nan_to_num(value), index

    return sorted(range(len(rows)), key=key)


def _best_p(bootstrap: Bootstrap, entered_R: Sequence[bool], values_RQ: Float64Array) -> dict[int, float]:
    """How likely it is to be among the best (p), of entered rows that answered more than half of the questions.

    Any two of those have a question in common.
    """
    answered_R = (~np.isnan(values_RQ)).sum(axis=1)
    candidates = [
        index for index, entered in enumerate(entered_R) if entered and 2 * answered_R[index] > values_RQ.shape[1]
    ]
    if not candidates:
        return {}
    return dict(zip(candidates, best_set(bootstrap, values_RQ[candidates]).tolist(), strict=True))


def _train_records(
    rows: Sequence[Measured],
    settings: EvaluationSettings,
    bootstrap: Bootstrap,
    accuracy_RQM: Float64Array,
    share_R: Float64Array,
    train_clusters_Q: Int64Array | None,
) -> dict[int, TrainRecord]:
    asked = [index for index, row in enumerate(rows) if row.train_QS is not None]
    if not asked or train_clusters_Q is None:
        return {}
    train_RQM = with_mean(np.stack([row.train_QS for row in rows if row.train_QS is not None]))
    independent = Bootstrap(train_clusters_Q, settings.resamples, derive_seed("train", settings.seed))
    found = means(independent, train_RQM, share_R[asked])
    rank = settings.rank_column
    gap = unpaired_differences(
        (independent, train_RQM[:, :, rank]), (bootstrap, accuracy_RQM[asked, :, rank]), share_R[asked]
    )
    records = {}
    for place, index in enumerate(asked):
        estimates = _estimates(found, place)
        records[index] = TrainRecord(shots=tuple(estimates[:-1]), mean=estimates[-1], gap=_estimates(gap, place)[0])
    return records


def _estimates(found: Estimates, row: int) -> list[Estimate | None]:
    return [
        Estimate(value=value, low=low, high=high, questions=questions) if questions else None
        for value, low, high, questions in zip(
            found.value[row].round(DIGITS).tolist(),
            found.low[row].round(DIGITS).tolist(),
            found.high[row].round(DIGITS).tolist(),
            found.questions[row].tolist(),
            strict=True,
        )
    ]


def difference_records(found: Estimates, measures: slice) -> list[list[Difference | None]]:
    """Records of some measures, corrected as one family. Joint intervals are those of one measure."""
    adjusted = holm(found.p[:, measures])
    one_measure = adjusted.shape[1] == 1

    def record(pair: int, place: int, estimate: Estimate | None, p_holm: float) -> Difference | None:
        if estimate is None:
            return None
        joint = (found.joint_low[pair, place].round(DIGITS), found.joint_high[pair, place].round(DIGITS))
        error = found.error[pair, place].round(DIGITS)
        return Difference(
            **estimate.model_dump(),
            p=float(found.p[pair, place]),
            p_holm=p_holm,
            joint=(float(joint[0]), float(joint[1])) if one_measure else None,
            error=None if np.isnan(error) else float(error),
        )

    places = range(found.p.shape[1])[measures]
    return [
        [
            record(pair, place, estimate, p_holm)
            for place, estimate, p_holm in zip(
                places, _estimates(found, pair)[measures], adjusted[pair].tolist(), strict=True
            )
        ]
        for pair in range(len(found.p))
    ]


def correlate(records: Sequence[RowRecord], settings: EvaluationSettings) -> tuple[CorrelationRecord | None, str]:
    """Spearman correlation of val_loss with accuracy, and what to make of it."""
    rows, accuracies = correlated_rows(records)
    paired = any(row.dropped_after is not None for row in rows)
    losses = np.array([row.val_loss for row in rows], dtype=np.float64)
    found = rank_correlation(losses, np.array(accuracies, dtype=np.float64), settings.seed)
    if found is None:
        why = "it takes at least 3 rows with a validation loss" if len(rows) < 3 else "one of the two does not vary"
        return None, f"no rank correlation of val_loss with accuracy from {counted(len(rows), 'row')}: {why}"
    trials = len({row.trial for row in rows if row.trial is not None})
    rows_of_trials = f"{counted(len(rows), 'row')} of {counted(trials, 'trial')}"
    note = f"{rows_of_trials}, chosen by val_loss: a narrow range of losses weakens the correlation"
    if len(rows) < 10:
        note += "; with so few rows it says little"
    if paired:
        note += "; by the difference to the baseline, since racing let rows see different questions"
    return CorrelationRecord(rho=found.rho, p=found.p, interval=found.interval, rows=found.rows), note


def correlated_rows(records: Sequence[RowRecord]) -> tuple[list[RowRecord], list[float]]:
    """Rows of stored selectors with a val_loss, and the accuracy of each.

    If rows saw different questions, their paired differences to the baseline stand for the accuracies: a row must not
    look better for having had easier questions.
    """
    rows = [row for row in records if row.kind in CORRELATED and row.val_loss is not None and row.ranked_by is not None]
    paired = any(row.dropped_after is not None for row in rows)
    return rows, [_compared(row, paired) for row in rows]


def _compared(row: RowRecord, paired: bool) -> float:
    if paired:
        return row.minus_baseline.value if row.minus_baseline is not None else 0.0
    return row.ranked_by.value if row.ranked_by is not None else float("nan")


def notes(settings: EvaluationSettings, race: Race, unit: str, fresh_seeds: bool) -> tuple[str, ...]:
    """What the numbers guarantee, in sentences."""
    split = f"95 % intervals from {settings.resamples} bootstrap replicates over {unit}"
    found = [
        f"{split}; all numbers of shots of a question are resampled together.",
        f"Differences to {settings.baseline} by the ranking measure are one Holm family, differences to the next row "
        "another, differences per number of shots over all rows a third.",
        f"Best set (model confidence set): all compared rows of the highest true accuracy are in it with "
        f"probability at least {100 * (1 - race.final_level):.0f} %.",
    ]
    if race.looks:
        looks = ", ".join(map(str, race.looks))
        found.append(
            f"Racing, which looks after {looks} questions, loses the best trial with probability at most "
            f"{100 * race.alpha:g} %; trials' intervals are wider and p-values larger for it, so that 95 % hold for "
            "what is reported. Means of dropped trials tend to be a little too low, those of the others too high."
        )
    if fresh_seeds:
        found.append(
            "Trials were chosen under the seeds of the sweep and stand below; the winner is decided by configurations "
            "trained again under fresh seeds. Their intervals cover the choice of questions; the spread between seeds "
            "stands beside."
        )
    return tuple(found)


def mean_per_measure(values_QS: Float64Array) -> tuple[float | None, ...]:
    """Means per measure for records: [Q, S] accuracies to S numbers and their mean, None without answers."""
    columns_QM = with_mean(values_QS[None])[0]
    return tuple(
        float(column_Q[~np.isnan(column_Q)].mean()) if (~np.isnan(column_Q)).any() else None
        for column_Q in columns_QM.T
    )

"""Taking in answers in any order, and what is known about them so far."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from selector.arrays import BoolArray, Float32Array
from selector.data.checks import check_dataset
from selector.data.dataset import Dataset, Outcome, Split
from selector.errors import DataError
from sweep.collect.beams import Beams, Items, dataset_of
from sweep.collect.outcomes import ScoreText, is_correct, relevance
from sweep.vlm.work import Failure, Result, WorkItem


@dataclass(frozen=True, slots=True)
class CollectProgress:
    """How far a collection is. A group is finished when all of its beams have a result.

    Attributes:
        beams: results so far, failures included.
        beams_total: all work items.
        failed: results that are failures.
        groups: finished ones.
        groups_total: all queries.
        positive_beams_share: of the finished groups' answered beams, those that are correct. In [0, 1].
        positive_groups_share: of the finished groups with an answer, those with a correct beam.
        zero_variance_share: of the same groups, those whose beams all have the same accuracy: they teach nothing.
        validation_groups: finished groups of the validation split with an answer.
        informative_validation_groups: of these, those whose beams differ in accuracy. They alone decide val_loss.
    """

    beams: int
    beams_total: int
    failed: int
    groups: int
    groups_total: int
    positive_beams_share: float
    positive_groups_share: float
    zero_variance_share: float
    validation_groups: int
    informative_validation_groups: int


@dataclass(frozen=True)
class Measured:
    """Beams with their results.

    Attributes:
        beams: those that were asked.
        outcomes: float32 [sum N] per column but `vqa_correct`. An accuracy of NaN: no answer.
        texts: the model's answer per beam, empty where there is none.
        failures: beams without an answer, by kind.
    """

    beams: Beams
    outcomes: dict[Outcome, Float32Array]
    texts: list[str]
    failures: Counter[str]

    @property
    def accuracy(self) -> Float32Array:
        """Per beam, float32 [sum N]. NaN: no answer."""
        return self.outcomes[Outcome.ACC_SCORE]


@dataclass(frozen=True)
class Collected:
    """Measured beams.

    Attributes:
        dataset: checked. `dataset.counts` equals `counts`.
        predictions: the model's answer per beam.
        proposers: who proposed each beam.
        rounds: the round that each beam was proposed in, from 1.
        counts: what was left out or noticed. Zeros are left out.
    """

    dataset: Dataset
    predictions: list[str]
    proposers: list[str]
    rounds: list[int]
    counts: dict[str, int]


class Measurement:
    """Results of proposed beams.

    Invariant: each of the beams gets exactly one result. An unknown, a second or a missing one is a bug of whoever
    answers, and raises RuntimeError.
    """

    def __init__(self, beams: Beams, table: Items, score_text: ScoreText, *, gt_prob: bool) -> None:
        """Take in nothing yet.

        Args:
            beams: what is asked.
            table: the items, for their ground-truth answers.
            score_text: accuracy in [0, 1] of a predicted text against an item's ground-truth answers.
            gt_prob: whether answers carry the probability of the ground truth.
        """
        self._beams = beams
        self._table = table
        self._score_text = score_text
        self._gt_prob = gt_prob
        self._position = {item: query for query, item in enumerate(beams.queries.query_items.tolist())}
        self._waiting = np.diff(beams.beam_starts)
        self._seen = np.zeros(len(beams), dtype=bool)
        self._accuracy: Float32Array = np.full(len(beams), np.nan, dtype=np.float32)  # NaN: no answer
        self._gt: Float32Array = np.zeros(len(beams), dtype=np.float32)
        self._texts = [""] * len(beams)
        self._failures: Counter[str] = Counter()
        self._finished = self._answered_groups = self._positive_groups = self._constant_groups = 0
        self._finished_beams = self._positive_beams = 0
        self._validation_groups = self._informative_groups = 0

    def add(self, item: WorkItem, result: Result) -> bool:
        """Take in one result. Returns whether its group is finished now."""
        query, row = self._find(item)
        if self._seen[row]:
            raise RuntimeError(f"{item} has a second result")
        self._seen[row] = True
        if isinstance(result, Failure):
            self._failures[f"failed_{result.kind.value}"] += 1
        else:
            self._texts[row] = result.text
            self._accuracy[row] = self._score_text(result.text, self._table.answers(item.query))
            if self._gt_prob:
                if result.gt_prob is None or math.isnan(result.gt_prob):
                    raise RuntimeError(f"{item} has no gt_prob, though it was asked for")
                self._gt[row] = min(max(result.gt_prob, 0.0), 1.0)  # a sum of probabilities may round past 1
        self._waiting[query] -= 1
        if self._waiting[query]:
            return False
        self._finish(query)
        return True

    def _find(self, item: WorkItem) -> tuple[int, int]:
        """Position of the query and row of the beam."""
        query = self._position.get(item.query, -1)
        if query >= 0 and len(item.demonstrations) == self._beams.beam_picks.shape[1]:
            same = np.flatnonzero((self._beams.shown(query) == item.demonstrations).all(axis=1))
            if len(same):
                return query, int(self._beams.beam_starts[query] + same[0])
        raise RuntimeError(f"{item} was not asked")

    def _finish(self, query: int) -> None:
        accuracy = self._accuracy[self._beams.beam_starts[query] : self._beams.beam_starts[query + 1]]
        accuracy = accuracy[~np.isnan(accuracy)]
        self._finished += 1
        if not len(accuracy):
            return
        positive = int(is_correct(accuracy).sum())
        self._answered_groups += 1
        self._finished_beams += len(accuracy)
        self._positive_beams += positive
        self._positive_groups += positive > 0
        constant = bool(accuracy.min() == accuracy.max())
        self._constant_groups += constant
        if self._beams.queries.split[query] == int(Split.VAL):
            self._validation_groups += 1
            self._informative_groups += not constant

    def progress(self) -> CollectProgress:
        """Where things stand."""
        groups = max(self._answered_groups, 1)
        return CollectProgress(
            beams=int(self._seen.sum()),
            beams_total=len(self._beams),
            failed=self._failures.total(),
            groups=self._finished,
            groups_total=len(self._beams.queries),
            positive_beams_share=self._positive_beams / max(self._finished_beams, 1),
            positive_groups_share=self._positive_groups / groups,
            zero_variance_share=self._constant_groups / groups,
            validation_groups=self._validation_groups,
            informative_validation_groups=self._informative_groups,
        )

    def measured(self) -> Measured:
        """The beams with their results, when every beam has its own.

        Raises:
            RuntimeError: a beam has no result.
        """
        missing = np.flatnonzero(~self._seen)
        if len(missing):
            raise RuntimeError(f"{len(missing)} of {len(self._beams)} beams have no result")
        beams = self._beams
        relevant = [
            relevance(item, beams.shown(query), beams.unit)
            for query, item in enumerate(beams.queries.query_items.tolist())
        ]
        outcomes = {Outcome.ACC_SCORE: self._accuracy, Outcome.GT_PROB: self._gt}
        outcomes[Outcome.REL_SCORE] = np.concatenate([np.zeros(0, dtype=np.float32), *relevant])
        if not self._gt_prob:
            del outcomes[Outcome.GT_PROB]
        return Measured(beams, outcomes, self._texts, self._failures)

    def collected(self) -> Collected:
        """The data set of these beams alone. Raises as `measured` and `collected_of` do."""
        return collected_of(self.measured())


def collected_of(measured: Measured) -> Collected:
    """The data set of measured beams.

    Raises:
        DataError: no beam was answered, or none of the training or of the validation queries'.
    """
    beams, kept = measured.beams, ~np.isnan(measured.accuracy)
    counts = dict(sorted((+_counts(measured, kept)).items()))
    if not kept.any():
        raise DataError(f"collect: no beam was answered ({_listed(measured.failures)})")
    outcomes = {Outcome.CORRECT: is_correct(measured.accuracy[kept]).astype(np.float32)}
    outcomes |= {outcome: values[kept] for outcome, values in measured.outcomes.items()}
    dataset = dataset_of(beams, kept, outcomes, counts)
    check_dataset(dataset, "collect", embeddings_file="the embeddings")
    rows = np.flatnonzero(kept).tolist()
    return Collected(
        dataset,
        [measured.texts[row] for row in rows],
        [beams.proposers[row].value for row in rows],
        beams.rounds[kept].tolist(),
        counts,
    )


def _counts(measured: Measured, kept: BoolArray) -> Counter[str]:
    answered = np.add.reduceat(kept, measured.beams.beam_starts[:-1])
    return measured.beams.counts + measured.failures + Counter(queries_without_answers=int((answered == 0).sum()))


def _listed(failures: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(failures.items()))

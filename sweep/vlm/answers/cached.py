"""From work items to results: what is stored is not asked again, what is equal is asked once, what comes is stored.

Every work item has exactly one result, unless the evaluation stops with an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.answers.writer import AnswerWriter
from sweep.vlm.failure_limit import EvaluationError, FailureLimit
from sweep.vlm.work import Failure, FailureKind, Result, WorkItem

NAMED_REASONS = 3
NAMED_LABELS = 5

Wants = Callable[[WorkItem], Wanted | Failure]
ResultObserver = Callable[[WorkItem, Result], None]


class PoolRun(Protocol):
    """A pool's `run`: every item of `items` comes back once, in any order."""

    def __call__(self, items: Sequence[WorkItem], score: bool) -> Generator[tuple[WorkItem, Result], None, None]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class FailureCount:
    """Failures of one kind.

    Attributes:
        count: contents without an answer.
        labels: images (or table rows) that are the reason, each once, sorted. Empty where there are none to name.
    """

    count: int
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """Where the results come from. `distinct` is the sum of `reused`, `answered` and `failed_now`.

    Attributes:
        asked: work items, with repetitions.
        distinct: different contents among them. Items of equal key are one.
        reused: results (answers and lasting failures) that the store had.
        answered: answers that the model gave now.
        failed_now: failures that the store did not have.
        failed: all failures among the distinct ones, by kind.
    """

    asked: int
    distinct: int
    reused: int
    answered: int
    failed_now: int
    failed: Mapping[FailureKind, FailureCount]


@dataclass(frozen=True, slots=True)
class AnswerSet:
    """A result for every work item that was asked for, and the counts."""

    results: dict[WorkItem, Result]
    counts: Counts


def answer_all(
    items: Iterable[WorkItem],
    *,
    wants: Wants,
    store: AnswerStore,
    run: PoolRun,
    score: bool,
    model: str,
    failure_limit: float,
    observer: ResultObserver | None = None,
    all_may_fail: bool = False,
) -> AnswerSet:
    """Results of all work items.

    Args:
        items: may repeat.
        wants: the key of an item and, if `score`, its targets. A failure where its image cannot be read.
        store: read first, then appended to as results come.
        run: called with what the store lacks, sorted by query, unless that is nothing.
        score: whether the probability of the ground-truth answers is wanted.
        model: name that is stored with the answers, for people.
        failure_limit: share of the distinct contents that may fail, in [0, 1].
        observer: told every work item's result once, as soon as it is known and, if new, stored or about to be.
        all_may_fail: whether these are few of many, so that it is no error if none of them is answered.

    Raises:
        EvaluationError: more failed than `failure_limit` allows (`FailureLimit`), or nothing at all was answered.
            What was answered is stored.
        StoreError: answers cannot be stored.
    """
    asked = Counter(items)
    tally = _Tally(FailureLimit(failure_limit), observer)
    groups: dict[Wanted, list[WorkItem]] = {}
    for item in sorted(asked):  # equal queries side by side, so that workers can share prompts' beginnings
        wanted = wants(item)
        if isinstance(wanted, Failure):
            tally.unreadable[item] = wanted
        else:
            groups.setdefault(wanted, []).append(item)
    tally.distinct = len(groups) + len(tally.unreadable)
    for item, failure in tally.unreadable.items():
        tally.add([item], failure)

    first = {members[0]: wanted for wanted, members in groups.items()}
    found = store.lookup(first)
    for item, result in found.items():
        tally.add(groups[first[item]], result)
    missing = [item for item in first if item not in found]
    if score:  # probabilities have the last bits of the list that they were asked in: a query is asked as a whole
        queries = {item.query for item in missing}
        missing = [item for item in first if item.query in queries]
    answers = 0
    if missing:
        with AnswerWriter(store, model) as writer, closing(run(missing, score)) as results:
            for item, result in results:
                if item in found:
                    continue
                writer.add(item, first[item], result)
                answers += not isinstance(result, Failure)
                tally.add(groups[first[item]], result)
    if not all_may_fail:
        tally.check_end()
    failed_now = tally.distinct - len(found) - answers
    counts = Counts(asked.total(), tally.distinct, len(found), answers, failed_now, tally.failed())
    return AnswerSet(tally.results, counts)


@dataclass
class _Tally:
    """Results so far, and whether to go on."""

    limit: FailureLimit
    observer: ResultObserver | None
    distinct: int = 0
    settled: int = 0
    results: dict[WorkItem, Result] = field(default_factory=dict)
    unreadable: dict[WorkItem, Failure] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(self, members: Sequence[WorkItem], result: Result) -> None:
        """One content's result, for all items that have this content."""
        for item in members:
            self.results[item] = result
            if self.observer is not None:
                self.observer(item, result)
        self.settled += 1
        if isinstance(result, Failure):
            self.failures.append(result)
        if self.limit.is_exceeded(len(self.failures), self.distinct, self.settled):
            raise self._error()

    def check_end(self) -> None:
        """Few items are let pass whatever failed among them, unless nothing else is left."""
        if self.failures and len(self.failures) == self.distinct:
            raise self._error()

    def failed(self) -> dict[FailureKind, FailureCount]:
        """By kind, only those that occurred."""
        kinds = Counter(failure.kind for failure in self.failures)
        return {
            kind: FailureCount(
                count, tuple(sorted({one.label for one in self.failures if one.kind is kind and one.label}))
            )
            for kind, count in sorted(kinds.items())
        }

    def _error(self) -> EvaluationError:
        reasons = Counter(f"{one.kind}: {one.reason}" for one in self.failures)
        often = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(NAMED_REASONS))
        labels = sorted({one.label for one in self.failures if one.label})
        more = f" and {len(labels) - NAMED_LABELS} more" if len(labels) > NAMED_LABELS else ""
        where = f" ({', '.join(labels[:NAMED_LABELS])}{more})" if labels else ""
        count = f"{len(self.failures)} of {self.distinct} distinct work items have no answer"
        if len(self.failures) < self.distinct:
            so_far = " so far" if self.settled < self.distinct else ""
            count += f"{so_far}, which is more than {self.limit} allows"
        return EvaluationError(
            f"{count}: {often}{where}; what was answered is stored, so mend these and give the same command again"
        )

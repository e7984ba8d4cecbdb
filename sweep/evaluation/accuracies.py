"""From selections to accuracies: work items merged, answered once, scored once.

Legend: R rows, Q questions, S numbers of shots, D draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from selector.arrays import Float64Array, Int64Array
from sweep.evaluation.answer_table import AnswerRecord
from sweep.evaluation.rows import Panel
from sweep.vlm.failure_limit import EvaluationError, FailureLimit
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem
from sweep.vqa.accuracy import AnswerNormalisation

AnswerCall = Callable[[Sequence[WorkItem]], Mapping[WorkItem, Result]]
ScoreAnswer = Callable[[int, str, AnswerNormalisation], float]
LABELS_IN_ERROR = 3


class AnswerBook:
    """Every distinct work item with its result. Each is asked once, and each of its texts scored once."""

    def __init__(self, ask: AnswerCall, score: ScoreAnswer, failure_limit: float) -> None:
        self._ask = ask
        self._score = score
        self._limit = FailureLimit(failure_limit)
        self._results: dict[WorkItem, Result] = {}
        self._scores: dict[tuple[int, str, AnswerNormalisation], float] = {}

    def __len__(self) -> int:
        return len(self._results)

    def ask(self, items: Iterable[WorkItem]) -> int:
        """Have all items that are not yet known answered in one call, sorted by query. Returns how many those are.

        Raises:
            EvaluationError: more of all items have no answer than the limit allows.
        """
        distinct = {item for item in items if item not in self._results}
        new = sorted(distinct, key=lambda item: (item.query, item.demonstrations))
        if new:
            results = self._ask(new)
            self._results.update((item, results[item]) for item in new)
            self._check()
        return len(new)

    def result(self, item: WorkItem) -> Result:
        """What came back for an item that was asked."""
        return self._results[item]

    def accuracy(self, item: WorkItem, normalisation: AnswerNormalisation) -> float:
        """In [0, 1]. NaN for a failure."""
        result = self._results[item]
        if isinstance(result, Failure):
            return float("nan")
        key = (item.query, result.text, normalisation)
        if key not in self._scores:
            self._scores[key] = self._score(*key)
        return self._scores[key]

    def failures(self) -> dict[FailureKind, int]:
        """Work items without an answer, by kind."""
        found = Counter(result.kind for result in self._results.values() if isinstance(result, Failure))
        return {kind: found[kind] for kind in FailureKind if found[kind]}

    def failure_labels(self) -> dict[str, int]:
        """Work items per label of their failure, most first."""
        found = Counter(
            result.label for result in self._results.values() if isinstance(result, Failure) and result.label
        )
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    def _check(self) -> None:
        failed = [result for result in self._results.values() if isinstance(result, Failure)]
        if not self._limit.is_exceeded(len(failed), len(self._results)):
            return
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.failures().items())
        reasons = Counter(f"{failure.label or failure.kind}: {failure.reason}" for failure in failed)
        examples = "; ".join(text for text, _ in reasons.most_common(LABELS_IN_ERROR))
        raise EvaluationError(
            f"{len(failed)} of {len(self._results)} prompts have no answer ({kinds}), which is more than {self._limit} "
            f"allows; for example {examples}. Mend them, or raise the limit"
        )


class Board:
    """The accuracies of a panel's rows, filled as answers come. NaN: not seen yet, or no answer."""

    def __init__(
        self, panel: Panel, shots: Sequence[int], normalisations: Sequence[AnswerNormalisation], book: AnswerBook
    ) -> None:
        self.panel = panel
        self.shots = tuple(shots)
        self._book = book
        shape = (len(panel.selections), len(panel.questions), len(self.shots))
        self.accuracy_RQS: dict[AnswerNormalisation, Float64Array] = {
            one: np.full(shape, np.nan) for one in normalisations
        }
        self.failures_R: Int64Array = np.zeros(shape[0], dtype=np.int64)
        self.asked_R: Int64Array = np.zeros(shape[0], dtype=np.int64)

    def items(self, rows: Sequence[int], start: int, end: int) -> list[WorkItem]:
        """The rows' prompts for questions [start, end), every draw and number of shots. Copies included."""
        return [item for row in rows for place in range(start, end) for *_, item in self._prompts(row, place)]

    def fill(self, rows: Sequence[int], start: int, end: int) -> None:
        """Score the rows' answers to questions [start, end). Draws without an answer leave the mean to the others."""
        for row in rows:
            self.asked_R[row] = end
            for place in range(start, end):
                prompts = list(self._prompts(row, place))
                for normalisation, accuracy_RQS in self.accuracy_RQS.items():
                    values: list[list[float]] = [[] for _ in self.shots]
                    for _, index, item in prompts:
                        value = self._book.accuracy(item, normalisation)
                        if value == value:
                            values[index].append(value)
                    for index, found in enumerate(values):
                        if found:
                            accuracy_RQS[row, place, index] = sum(found) / len(found)
                results = [self._book.result(item) for *_, item in prompts]
                self.failures_R[row] += sum(isinstance(result, Failure) for result in results)

    def records(self, normalisation: AnswerNormalisation) -> Iterator[AnswerRecord]:
        """One record per row, question, draw and number of shots that was asked."""
        questions = self.panel.questions
        for row, selections in enumerate(self.panel.selections):
            for place in range(int(self.asked_R[row])):
                for draw, index, item in self._prompts(row, place):
                    result = self._book.result(item)
                    answered = isinstance(result, Answer)
                    yield AnswerRecord(
                        row=selections.row.name,
                        split=str(questions.split),
                        query=int(questions.queries_Q[place]),
                        item=item.query,
                        shots=self.shots[index],
                        draw=draw,
                        demonstrations=item.demonstrations,
                        text=result.text if isinstance(result, Answer) else None,
                        accuracy=self._book.accuracy(item, normalisation) if answered else None,
                        failure=str(result.kind) if isinstance(result, Failure) else None,
                        reason=result.reason if isinstance(result, Failure) else None,
                    )

    def _prompts(self, row: int, place: int) -> Iterator[tuple[int, int, WorkItem]]:
        return _prompts(self.panel, row, place, self.shots)


def work_items(panel: Panel, shots: Sequence[int], questions: int) -> list[WorkItem]:
    """The prompts of all rows for the first questions, every draw and number of shots. Copies included."""
    rows = range(len(panel.selections))
    return [item for row in rows for place in range(questions) for *_, item in _prompts(panel, row, place, shots)]


def _prompts(panel: Panel, row: int, place: int, shots: Sequence[int]) -> Iterator[tuple[int, int, WorkItem]]:
    """Draw, index of the number of shots, and work item."""
    selections = panel.selections[row]
    query = int(panel.questions.items_Q[place])
    for draw in range(len(selections.picks_DQS)):
        for index, number in enumerate(shots):
            yield draw, index, WorkItem(query, selections.demonstrations(draw, place, number))

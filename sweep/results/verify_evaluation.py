"""Evaluations, computed again from the stored answers, the checkpoints and the data. No model is asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selector.errors import UserError
from sweep.errors import RunError
from sweep.evaluation.answer_table import AnswerRecord, read_answers
from sweep.evaluation.evaluate import Evaluated
from sweep.evaluation.evaluate import evaluate as evaluate_panel
from sweep.evaluation.records import Evaluation, RowRecord, read_evaluation
from sweep.evaluation.rows import Panel, RowKind
from sweep.plan.plan import Plan
from sweep.results.audit import with_audit
from sweep.results.differences import Fault, faults_of, known_fields
from sweep.results.policies import Policy, panel_of, policies, policy_of
from sweep.results.verdict import verdict_by_answers
from sweep.results.verify_study import name_in
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.settings.evaluation import EvaluationSettings, SplitName
from sweep.study import TrialSummary
from sweep.trials.finalists import ended, finalists
from sweep.vlm.failure_limit import EvaluationError
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem
from sweep.vqa.accuracy import AnswerNormalisation, accuracy

# Statistics are rounded (`sweep.evaluation.analysis`), so that other cores give the same; the rest is added up.
TOLERANCE = 1e-7
GROUNDS = ("settings", "source", "example")
"""Fields of an evaluation that it was computed from, and the one that takes the model's tokenizer."""


@dataclass(frozen=True)
class VerifiedRow:
    """A row of a table by answers: its accuracy as stored and as computed again. None where there is none."""

    evaluation: str
    row: str
    stored: float | None
    recomputed: float | None
    faults: int


class EvaluationCheck:
    """Checks one evaluation of a run.

    Attributes:
        faults: what differs.
        rows: one per row of the table, as far as it could be computed again.
        answers: lines of its table of answers.
    """

    def __init__(
        self,
        paths: RunPaths,
        place: EvaluationPaths,
        plan: Plan,
        ranked: Sequence[TrialSummary],
        declared: EvaluationSettings | None,
    ) -> None:
        """Check it. `declared` are the settings that it should have. None: nobody knows."""
        self.faults: list[Fault] = []
        self.rows: list[VerifiedRow] = []
        self.answers = 0
        self._paths, self._plan, self._ranked, self._declared = paths, plan, ranked, declared
        self._file, self._answers_file = name_in(paths, place.file), name_in(paths, place.answers_file)
        try:
            evaluation, answers = read_evaluation(place.file), read_answers(place.answers_file)
        except RunError as error:
            file = next((one for one in (self._file, self._answers_file) if f"{one}: " in str(error)), self._file)
            self.faults.append(Fault(file, "", f"not readable ({str(error).partition(f'{file}: ')[2]})"))
            return
        self.answers = len(answers)
        try:
            again = self._again(evaluation, answers)
        except UserError as error:  # of altered settings, or of answers that are not those of the evaluation
            source = self._answers_file if isinstance(error, EvaluationError) else ""
            self.faults.append(Fault(self._file, "", f"not to be computed again: {error}", "", source, derived=True))
            return
        if again is not None:
            self._compare(json.loads(place.file.read_bytes()), evaluation, again)
            self._compare_answers(answers, again.answers)
            self.rows = _rows(place.name, evaluation, again.evaluation, self.faults)

    # Computing again --------------------------------------------------------------------------------------------------

    def _again(self, evaluation: Evaluation, answers: Sequence[AnswerRecord]) -> Evaluated | None:
        if self._plan.evaluation is None:
            return None
        settings, table = self._settings(evaluation), self._plan.evaluation.items
        found = self._policies(evaluation, answers)
        if found is None:
            return None
        panel = panel_of(self._plan.dataset, table, settings.split, found, settings)
        train = panel_of(self._plan.dataset, table, SplitName.TRAIN, found, settings) if settings.train_rows else None
        results = _results(answers, [part for part in (panel, train) if part is not None])

        def ask(wanted: Sequence[WorkItem]) -> Mapping[WorkItem, Result]:
            if lacking := [item for item in wanted if item not in results]:
                raise EvaluationError(f"{len(lacking)} prompts of the evaluation have no answer in it")
            return {item: results[item] for item in wanted}

        def score(item: int, text: str, normalisation: AnswerNormalisation) -> float:
            return accuracy(text, table.answers(item), normalisation)

        verdicts = [row.verdicts for row in self._ranked if row.is_complete]
        # Nobody waits for answers, so no share of failures is too large.
        again = evaluate_panel(panel, settings.replace(failure_limit=1.0), ask, score, train, verdicts)
        audited = with_audit(again.evaluation, self._plan, found)
        sentence = None if evaluation.sentence is None else verdict_by_answers(audited).sentence  # None: version 0.1
        return replace(again, evaluation=audited.replace(sentence=sentence))

    def _policies(self, evaluation: Evaluation, answers: Sequence[AnswerRecord]) -> list[Policy] | None:
        """The selectors behind the rows that were asked, in their order. None where one is gone."""
        settings = self._settings(evaluation)
        complete = [row for row in self._ranked if row.is_complete]
        wanted = finalists(self._paths, complete, settings.finalists.count, settings.finalists.seeds)
        again = [one for one in (ended(self._paths, finalist) for finalist in wanted) if one is not None]
        epochs, shots = settings.epochs_per_trial, settings.shot_numbers[-1]
        now = policies(self._paths, self._ranked, settings.top, epochs, again, shots)
        found: dict[str, Policy | None] = {one.row.name: one for one in now}
        for name, kind, checkpoint in _stored(evaluation):
            one = found.get(name)
            if one is None or one.row.checkpoint != checkpoint:  # trials have come or gone since
                found[name] = policy_of(self._paths, name, kind, checkpoint) or one
                if found[name] is None:
                    self._say(
                        self._file, f"row {name!r}", f"of checkpoint {checkpoint[:12]}", "a checkpoint of the run"
                    )
        if None in found.values():
            return None
        return [one for name in _in_order(answers, settings.split) if (one := found.get(name)) is not None]

    def _settings(self, evaluation: Evaluation) -> EvaluationSettings:
        """Those that made it. Of the declared evaluation the space says them, unless somebody changed the space."""
        return evaluation.settings if self._declared is None else self._declared

    def _say(self, file: str, where: str, stored: str, right: str) -> None:
        self.faults.append(Fault(file, where, stored, right))

    # Comparing --------------------------------------------------------------------------------------------------------

    def _compare(self, stored: Any, evaluation: Evaluation, again: Evaluated) -> None:  # noqa: ANN401 (JSON)
        right = known_fields(stored, again.evaluation.model_dump(mode="json"))
        if self._declared is not None:
            settings = self._declared.model_dump(mode="json")
            self.faults += faults_of(self._file, stored["settings"], settings, where="settings")
        taken = [*GROUNDS, *(["failure_labels"] if evaluation.failures else [])]  # answers do not say which images
        right.update({name: stored[name] for name in taken if name in stored})
        source = self._answers_file
        self.faults += faults_of(self._file, stored, right, source=source, derived=True, tolerance=TOLERANCE)

    def _compare_answers(self, stored: Sequence[AnswerRecord], right: Sequence[AnswerRecord]) -> None:
        for line, (one, other) in enumerate(zip(stored, right, strict=False), start=1):
            if one != other:
                where = f"line {line} ({one.row}, query {one.query}, {one.shots} shots)"
                found = faults_of(self._answers_file, _values(one), _values(other), where=where, tolerance=TOLERANCE)
                self.faults += found
        if len(stored) != len(right):
            self.faults.append(Fault(self._answers_file, "", f"of {len(stored)} lines", f"{len(right)} lines"))


def _values(record: AnswerRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in AnswerRecord.__dataclass_fields__}


def _in_order(answers: Sequence[AnswerRecord], split: SplitName) -> list[str]:
    """The rows in the order in which they were asked. A line that names another row changes nothing."""
    lines: dict[str, list[int]] = {}
    for place, one in enumerate(answers):
        if one.split == split:
            lines.setdefault(one.row, []).append(place)
    return sorted(lines, key=lambda name: lines[name][len(lines[name]) // 2])


def _stored(evaluation: Evaluation) -> Iterator[tuple[str, RowKind, str]]:
    """Name, kind and checkpoint of every row that has one."""
    for row in evaluation.rows:
        if row.checkpoint is not None and row.kind is not RowKind.FINALIST:  # that is a mean over its seeds
            yield row.name, row.kind, row.checkpoint
    for finalist in evaluation.finalists:
        for seed in finalist.seeds:
            if seed.checkpoint is not None:
                yield seed.name, RowKind.FINALIST_SEED, seed.checkpoint


class _Prompts:
    """From a line of the table of answers to the prompt that its row, question, draw and number of shots call for."""

    def __init__(self, panel: Panel) -> None:
        self._questions = panel.questions
        self._rows = {one.row.name: one for one in panel.selections}
        self._places = {int(query): place for place, query in enumerate(panel.questions.queries_Q)}

    def of(self, one: AnswerRecord) -> WorkItem | None:
        """None where there is no such row, question or draw."""
        row, place = self._rows.get(one.row), self._places.get(one.query)
        if one.split != self._questions.split or row is None or place is None or one.shots < 1:
            return None
        if not 0 <= one.draw < len(row.picks_DQS):
            return None
        return WorkItem(int(self._questions.items_Q[place]), row.demonstrations(one.draw, place, one.shots))


def _results(answers: Sequence[AnswerRecord], panels: Sequence[Panel]) -> dict[WorkItem, Result]:
    """What the model said to each prompt. Where lines of one prompt disagree, most of them count.

    A line is about the prompt that it shows, and about the one that its row and question call for. Where these are two,
    it was changed, and counts only for what no other line is about.
    """
    prompts = [_Prompts(panel) for panel in panels]
    said: dict[WorkItem, Counter[Result]] = {}
    changed: list[tuple[WorkItem, Result]] = []
    for one in answers:
        shown = WorkItem(one.item, one.demonstrations)
        called_for = next((found for known in prompts if (found := known.of(one)) is not None), None)
        if shown == called_for:
            said.setdefault(shown, Counter())[_result(one)] += 1
        else:
            changed += [(item, _result(one)) for item in (shown, called_for) if item is not None]
    for item, result in changed:
        said.setdefault(item, Counter([result]))
    return {item: results.most_common(1)[0][0] for item, results in said.items()}


def _result(one: AnswerRecord) -> Result:
    if one.text is not None:
        return Answer(one.text, None, 0)
    kind = one.failure if one.failure in list(FailureKind) else FailureKind.CRASH
    return Failure(FailureKind(kind), one.reason or "")


def _rows(name: str, stored: Evaluation, again: Evaluation, faults: Sequence[Fault]) -> list[VerifiedRow]:
    right = {row.name: _mean(row) for row in again.rows}
    found = []
    for place, row in enumerate(stored.rows):
        own = sum(f"rows[{place}]." in fault.where or f"({row.name}, " in fault.where for fault in faults)
        found.append(VerifiedRow(name, row.name, _mean(row), right.get(row.name), own))
    return found


def _mean(row: RowRecord) -> float | None:
    return None if row.mean is None else row.mean.value

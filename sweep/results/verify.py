"""Stored numbers against what they were computed from. Needs neither Ray nor a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from selector.batches import TensorData
from selector.model import PointerSelector
from selector.validation import Evaluator
from sweep.errors import RunError
from sweep.evaluation.answer_table import AnswerRecord, read_answers
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.evaluation.rows import Panel, Selections
from sweep.items import ItemTable
from sweep.plan.plan import Plan
from sweep.results.evaluations import main_evaluation
from sweep.results.policies import panel_of, policies
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.study import read_summaries
from sweep.study.ranking import rank
from sweep.trials.checkpoints import read_checkpoint
from sweep.trials.finalists import ended, finalists
from sweep.trials.stored import stored_epochs
from sweep.vqa.accuracy import accuracy

# Another machine, or another number of threads, adds floats in another order.
TOLERANCE = 1e-4
ACCURACY_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Verified:
    """One stored number and its recomputation."""

    trial: int
    step: int
    stored: float
    recomputed: float

    @property
    def agrees(self) -> bool:
        """Within the tolerance of float addition in another order."""
        return abs(self.stored - self.recomputed) <= TOLERANCE * max(1.0, abs(self.stored))


def verify(paths: RunPaths, plan: Plan) -> list[Verified]:
    """Recompute val_loss of every stored epoch from its checkpoint and the data.

    Raises:
        RunError: the data is not the run's, or no epoch is stored.
        CheckpointError: a checkpoint is damaged.
    """
    record = read_record(paths)
    if record.fingerprint != plan.summary.fingerprint:
        raise RunError(
            f"run {paths.name} was trained on data {record.fingerprint[:16]}, this is "
            f"{plan.summary.fingerprint[:16]}: restore the data"
        )
    evaluate = Evaluator(TensorData(plan.dataset, torch.device("cpu")), plan.space.validation)
    found = []
    for folder in stored_epochs(paths.trials_folder):
        _, manifest = read_checkpoint(folder)
        result = evaluate(PointerSelector.from_pretrained(folder.local()))
        found.append(Verified(manifest["trial"], manifest["step"], manifest["metrics"]["val_loss"], result.loss))
    if not found:
        raise RunError(f"run {paths.name} has no stored epoch yet, so there is nothing to recompute")
    return found


@dataclass(frozen=True)
class VerifiedAnswers:
    """A row of the table by answers.

    Attributes:
        row: its name.
        stored: its mean accuracy over shots as the table has it; NaN where it has none.
        recomputed: from the stored answers, scored again.
        other_picks: prompts whose demonstrations are not those that the checkpoint selects.
        missing: whether the checkpoint is gone, so that the selections cannot be repeated.
    """

    row: str
    stored: float
    recomputed: float
    other_picks: int
    missing: bool

    @property
    def agrees(self) -> bool:
        """Same selections, same accuracy."""
        same = abs(self.stored - self.recomputed) <= ACCURACY_TOLERANCE or self.stored != self.stored
        return same and not self.other_picks and not self.missing


def verify_answers(paths: RunPaths, plan: Plan) -> list[VerifiedAnswers]:
    """Select and score again for every row of the run's evaluation; empty where there is none.

    Raises:
        RunError: the evaluation, or its answers, cannot be read.
    """
    place = main_evaluation(paths)
    if place is None or plan.evaluation is None:
        return []
    evaluation = read_evaluation(place.file)
    answers = read_answers(place.answers_file)
    record, settings = read_record(paths), evaluation.settings
    ranked = rank(read_summaries(record.storage_url(paths), record.study))
    complete = [row for row in ranked if row.is_complete]
    again = [
        ended(paths, one) for one in finalists(paths, complete, settings.finalists.count, settings.finalists.seeds)
    ]
    retrained, shots = [one for one in again if one is not None], settings.shot_numbers[-1]
    found = policies(paths, ranked, settings.top, settings.epochs_per_trial, retrained, shots)
    table = plan.evaluation.items
    panel = panel_of(plan.dataset, table, settings.split, found, settings)
    return list(_compare(evaluation, answers, panel, table))


def _compare(
    evaluation: Evaluation, answers: list[AnswerRecord], panel: Panel, table: ItemTable
) -> Iterator[VerifiedAnswers]:
    stored = {row.name: (row.mean.value if row.mean else float("nan"), row.checkpoint) for row in evaluation.rows}
    for finalist in evaluation.finalists:
        stored.pop(finalist.row, None)  # the mean of the rows that follow
        for seed in finalist.seeds:
            stored[seed.name] = (float("nan") if seed.mean is None else seed.mean, seed.checkpoint)
    selected = {one.row.name: one for one in panel.selections}
    places = {int(query): place for place, query in enumerate(panel.questions.queries_Q)}
    for name, (mean, checkpoint) in stored.items():
        own = [one for one in answers if one.row == name and one.split == evaluation.settings.split]
        selections = selected.get(name)
        missing = selections is None or selections.row.checkpoint != checkpoint
        other = 0
        by_question: dict[int, dict[int, list[float]]] = {}
        for one in own:
            if selections is not None and not missing:
                other += not _is_selected(one, selections, panel, places.get(one.query), evaluation.shots)
            if one.text is not None and 0 <= one.item < len(table):
                score = accuracy(one.text, table.answers(one.item), evaluation.settings.metric)
                by_question.setdefault(one.query, {}).setdefault(one.shots, []).append(score)
        whole = [shots for shots in by_question.values() if len(shots) == len(evaluation.shots)]
        values = [float(np.mean([np.mean(draws) for draws in shots.values()])) for shots in whole]
        yield VerifiedAnswers(name, mean, float(np.mean(values)) if values else float("nan"), other, missing)


def _is_selected(
    one: AnswerRecord, selections: Selections, panel: Panel, place: int | None, shots: Sequence[int]
) -> bool:
    """Whether the row shows exactly this before exactly this question. An altered table may ask about anything."""
    if place is None or panel.questions.items_Q[place] != one.item:
        return False
    if one.shots not in shots or not 0 <= one.draw < len(selections.picks_DQS):
        return False
    return selections.demonstrations(one.draw, place, one.shots) == one.demonstrations

"""Stored numbers against what they were computed from. Needs neither Ray nor a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from selector.batches import TensorData
from selector.model import PointerSelector
from selector.validation import Evaluator
from sweep.checkpoints import read_checkpoint
from sweep.contestants import contestants, stored_epochs
from sweep.errors import RunError
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.evaluation.rows import Panel
from sweep.items import ItemTable
from sweep.judging import panel_of
from sweep.paths import RunPaths
from sweep.plan import Plan
from sweep.ranking import rank
from sweep.records import read_record
from sweep.remote import mirror
from sweep.retraining import ended, finalists
from sweep.sources import open_source
from sweep.study import read_summaries
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
        result = evaluate(PointerSelector.from_pretrained(folder))
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
    if not paths.evaluation_file.exists():
        return []
    evaluation = read_evaluation(paths.evaluation_file)
    try:
        answers = pq.read_table(mirror.fetch(paths.answers_file))
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{paths.answers_file}: cannot be read ({type(error).__name__}); evaluate the run again"
        ) from None
    record, settings = read_record(paths), evaluation.settings
    ranked = rank(read_summaries(record.storage_url(paths), record.study))
    complete = [row for row in ranked if row.is_complete]
    again = [
        ended(paths, one) for one in finalists(paths, complete, settings.finalists.count, settings.finalists.seeds)
    ]
    found = contestants(
        paths, ranked, settings.top, settings.epochs_per_trial, [one for one in again if one is not None]
    )
    table = open_source(plan.space, paths.shared).table
    panel = panel_of(plan.dataset, table, settings.split, found, settings)
    return list(_compare(evaluation, answers.to_pylist(), panel, table))


def _compare(
    evaluation: Evaluation, answers: list[dict[str, Any]], panel: Panel, table: ItemTable
) -> Iterator[VerifiedAnswers]:
    stored = {row.name: (row.mean.value if row.mean else float("nan"), row.checkpoint) for row in evaluation.rows}
    for finalist in evaluation.finalists:
        stored.pop(finalist.row, None)  # the mean of the rows that follow
        for seed in finalist.seeds:
            stored[seed.name] = (float("nan") if seed.mean is None else seed.mean, seed.checkpoint)
    selected = {one.row.name: one for one in panel.selections}
    place = {int(query): index for index, query in enumerate(panel.questions.queries_Q)}
    for name, (mean, checkpoint) in stored.items():
        own = [line for line in answers if line["row"] == name and line["split"] == evaluation.settings.split]
        selections = selected.get(name)
        missing = selections is None or selections.row.checkpoint != checkpoint
        other = 0
        by_question: dict[int, dict[int, list[float]]] = {}
        for line in own:
            if selections is not None and not missing:
                shown = selections.demonstrations(line["draw"], place[line["query"]], line["shots"])
                other += list(shown) != line["demonstrations"]
            if line["text"] is not None:
                score = accuracy(str(line["text"]), table.answers(line["item"]), evaluation.settings.metric)
                by_question.setdefault(line["query"], {}).setdefault(line["shots"], []).append(score)
        whole = [shots for shots in by_question.values() if len(shots) == len(evaluation.shots)]
        values = [float(np.mean([np.mean(draws) for draws in shots.values()])) for shots in whole]
        yield VerifiedAnswers(name, mean, float(np.mean(values)) if values else float("nan"), other, missing)

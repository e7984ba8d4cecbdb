"""What a run's document is made from: every file of the run, read once, and what lies outside of its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selector.data.description import DataDescription, describe_data
from selector.errors import UserError
from selector.reports import EpochReport
from sweep.evaluation.answer_table import AnswerRecord, read_answers
from sweep.evaluation.records import Evaluation
from sweep.items import ItemTable
from sweep.plan.make import Answers, make_plan
from sweep.plan.plan import Plan
from sweep.plan.requests import request_of_run
from sweep.results.evidence import Evidence, read_evidence
from sweep.results.run_state import RunState
from sweep.results.run_verdict import RunVerdict, verdict_of_run
from sweep.results.status import RunStatus, read_status
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.runs.record import RunRecord, read_record
from sweep.space import SearchSpace
from sweep.study import FrozenTrial, TrialSummary


@dataclass(frozen=True)
class Material:
    """What lies outside of the run's folder. It does not change while a run trains, so it may be kept.

    Attributes:
        plan: the run's, with its data. None where that cannot be read, or is still to be measured.
        data: what the training data can teach. None where it cannot be read, or is still to be measured.
        items: questions with images. None where the run has none, or they cannot be read.
        missing: why something is None.
    """

    plan: Plan | None = None
    data: DataDescription | None = None
    items: ItemTable | None = None
    missing: str = ""


def material_of(plan: Plan) -> Material:
    """The material that a plan carries."""
    items = None if plan.evaluation is None else plan.evaluation.items
    return Material(plan, describe_data(plan.dataset, plan.data.path), items)


def read_material(
    paths: RunPaths, data: Path | None = None, embeddings: Path | None = None, scratch: Path | None = None
) -> Material:
    """Look for a run's data and items. What cannot be had is left out, with the reason.

    Args:
        paths: of the run.
        data: where the data is now, if it was moved.
        embeddings: where the embeddings are now.
        scratch: where demo items are made if there are none yet. None: beside the run.
    """
    try:
        plan = make_plan(request_of_run(paths, data, embeddings, scratch=scratch), Answers.STORED)
        if isinstance(plan, Plan):
            return material_of(plan)
    except (UserError, OSError) as error:
        return Material(missing=str(error))
    return Material(missing="the data is not collected yet")


@dataclass(frozen=True)
class Sources:
    """A run's files.

    Attributes:
        status: how the run stands, with all trials by rank.
        evidence: space, trials, epochs and evaluation, as findings see them.
        place: of the evaluation that the result rests on. None without one.
        answers: behind it.
        verdict: None until the run has ended.
        held_out: rows of `ranking.json` where no model was asked.
        material: from outside of the folder.
        problems: files that could not be read, in sentences.
    """

    paths: RunPaths
    record: RunRecord
    status: RunStatus
    evidence: Evidence
    place: EvaluationPaths | None
    answers: tuple[AnswerRecord, ...]
    verdict: RunVerdict | None
    held_out: tuple[dict[str, Any], ...]
    material: Material
    problems: tuple[str, ...]

    @property
    def space(self) -> SearchSpace:
        """As its file describes it, with what the command line set."""
        return self.evidence.space

    @property
    def trials(self) -> tuple[FrozenTrial, ...]:
        """As the study has them, by number."""
        return self.evidence.trials

    @property
    def epochs(self) -> dict[int, tuple[EpochReport, ...]]:
        """Reports of each trial that has any, by number."""
        return self.evidence.reports

    @property
    def evaluation(self) -> Evaluation | None:
        """The one that the result rests on."""
        return self.evidence.evaluation

    @property
    def rows(self) -> list[TrialSummary]:
        """All trials, the complete ones first, best on top."""
        return self.status.rows

    @property
    def complete(self) -> list[TrialSummary]:
        """The complete trials, best first."""
        return [row for row in self.rows if row.is_complete]


def read_sources(paths: RunPaths, material: Material | None = None) -> Sources:
    """Read everything. A damaged file beside the study is named in `problems`, and the rest goes on without it.

    Args:
        paths: of the run.
        material: None reads it now.

    Raises:
        RunError: not a run.
        StudyError: the study cannot be read.
    """
    reading, status = _Reading(paths), read_status(paths)
    material = read_material(paths) if material is None else material
    answers = None if status.evaluation is None else reading.tried(read_answers, status.evaluation.answers_file)
    # What trials select takes their selectors to be loaded: too long for who looks every few seconds.
    plan = None if status.state is RunState.RUNNING else material.plan
    return Sources(
        paths=paths,
        record=read_record(paths),
        status=status,
        evidence=read_evidence(paths, None if plan is None else lambda: plan),
        place=status.evaluation,
        answers=tuple(answers or ()),
        verdict=reading.tried(verdict_of_run, paths),
        held_out=reading.held_out(),
        material=material,
        problems=tuple(reading.problems),
    )


class _Reading:
    """Reads what may be damaged, and remembers why it could not."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self.problems: list[str] = []

    def tried(self, read: Any, place: Any) -> Any:  # noqa: ANN401 (what the reader gives)
        try:
            return read(place)
        except UserError as error:
            self.problems.append(str(error))
            return None

    def held_out(self) -> tuple[dict[str, Any], ...]:
        if not self._paths.ranking_file.exists():
            return ()
        try:
            return tuple(json.loads(self._paths.ranking_file.read_bytes()).get("held_out", ()))
        except (ValueError, AttributeError, TypeError, RecursionError):
            return ()  # `verdict_of_run` says that the file is damaged

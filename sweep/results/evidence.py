"""All that findings look at, read once. What is not at hand is named, and the findings that need it are left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from selector.arrays import Int64Array
from selector.data import Split
from selector.errors import UserError, first_line
from selector.reports import EpochReport, Stage
from selector.settings import ValidationMetric
from sweep.errors import RunError
from sweep.evaluation.questions import choose_questions, images_of
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.evaluation.row_kinds import RowKind
from sweep.plan.plan import Plan
from sweep.plan.requests import request_of_run
from sweep.plan.splits import informative_groups
from sweep.results.compare import picks_of
from sweep.results.equivalents import Equivalents, equivalents
from sweep.results.evaluations import main_evaluation
from sweep.results.importance import Importance, Target, importance_of_answers, importance_of_val_loss
from sweep.results.learning_curve import LearningCurve, learning_curve
from sweep.results.receipts import Receipt, receipts
from sweep.results.run_verdict import verdict_of_run
from sweep.results.sides import open_side
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.settings.evaluation import SplitName
from sweep.space import SearchSpace
from sweep.study import FrozenTrial, TrialSummary
from sweep.study.ranking import rank
from sweep.study.reading import read_trials
from sweep.study.summaries import summary
from sweep.trials.stored import read_history

MOST_LOADED = 100
"""Selectors that are loaded to compare what they select, best first."""


@dataclass(frozen=True)
class Groups:
    """Validation groups: those whose beams differ in reward, which alone decide a listwise val_loss, and all."""

    informative: int
    total: int


@dataclass(frozen=True, eq=False)
class Evidence:
    """A run as findings see it.

    Attributes:
        space: with what the command line set.
        trials: as the study has them, by number.
        reports: stored epochs by trial. A trial without any is not there.
        evaluation: the one that the run's result rests on.
        groups: None where neither the data nor a verdict says, or all groups count (metric rce).
        picks: what complete trials select for the validation queries, [Q, S] by trial, best first.
        not_looked: what could not be looked at, and why, in sentences.
    """

    space: SearchSpace
    trials: tuple[FrozenTrial, ...]
    reports: dict[int, tuple[EpochReport, ...]] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    groups: Groups | None = None
    picks: dict[int, Int64Array] = field(default_factory=dict)
    not_looked: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> list[TrialSummary]:
        """Trials as `sweep.study.ranking.rank` orders them."""
        return rank([summary(trial) for trial in self.trials])

    @property
    def complete(self) -> list[TrialSummary]:
        """Complete trials, best first."""
        return [row for row in self.rows if row.is_complete]

    @cached_property
    def equivalents(self) -> Equivalents:
        """Comparable values of complete and pruned trials."""
        return equivalents(self.trials, self.space.pruning_starts)

    @cached_property
    def receipts(self) -> tuple[Receipt, ...]:
        """One per pruned trial."""
        return receipts(self.space, self.trials)

    @cached_property
    def importance(self) -> Importance:
        """What decided val_loss."""
        return importance_of_val_loss(self.space, self.trials)

    @cached_property
    def importance_of_answers(self) -> Importance:
        """What decided answers."""
        return importance_of_answers(self.space, self.trials, self.evaluation)

    @cached_property
    def learning_curves(self) -> tuple[LearningCurve, ...]:
        """Of val_loss, and of answers where the model was asked."""
        queries = {number: reports[-1].train_queries for number, reports in self.reports.items() if reports}
        losses = {row.number: row.value for row in self.complete if row.value is not None}
        found = [learning_curve(Target.VAL_LOSS, queries, losses)]
        if self.evaluation is not None:
            answers = {
                row.trial: row.ranked_by.value
                for row in self.evaluation.rows
                if row.kind is RowKind.TRIAL and row.trial is not None and row.ranked_by is not None
            }
            found.append(learning_curve(Target.ANSWERS, queries, answers))
        return tuple(found)

    def grpo(self, number: int) -> list[EpochReport]:
        """The trial's epochs of GRPO with a finite val_loss."""
        reports = self.reports.get(number, ())
        return [one for one in reports if one.stage is Stage.GRPO and math.isfinite(one.val_loss)]

    def rce(self, number: int) -> list[EpochReport]:
        """The trial's epochs of the warm-up with a finite val_loss."""
        reports = self.reports.get(number, ())
        return [one for one in reports if one.stage is Stage.RCE and math.isfinite(one.val_loss)]


def read_evidence(paths: RunPaths, make: Callable[[], Plan] | None) -> Evidence:
    """Read a run, whatever its state. Nothing is written.

    Args:
        paths: the run's.
        make: gives the plan, for what needs the run's data. None: that is not looked at.

    Raises:
        RunError: the folder is no run's, or its record is damaged.
        StudyError: the study is there and cannot be read.
    """
    record = read_record(paths)
    space = request_of_run(paths).space
    missing: list[str] = []
    trials: tuple[FrozenTrial, ...] = ()
    if record.storage is None and not paths.study_file.local().exists() and not paths.trials_folder.exists():
        missing.append("Trials: none has been started.")
    else:
        trials = tuple(read_trials(record.storage_url(paths), record.study))
    reports = _reports(paths, trials, missing)
    evaluation = _evaluation(paths, space, missing)
    plan = _plan(make, missing)
    picks = {} if plan is None else _picks(paths, plan, trials, missing)
    if not any(len(curve) for curve in (reports,)) and trials:
        missing.append("Curves: no trial has a stored epoch.")
    return Evidence(space, trials, reports, evaluation, _groups(paths, space, plan), picks, tuple(missing))


def _reports(
    paths: RunPaths, trials: tuple[FrozenTrial, ...], missing: list[str]
) -> dict[int, tuple[EpochReport, ...]]:
    found = {}
    for trial in trials:
        try:
            reports = tuple(read_history(paths.trial(trial.number).history_file))
        except UserError as error:
            missing.append(f"The curve of trial {trial.number}: {first_line(error)}")
            continue
        if reports:
            found[trial.number] = reports
    return found


def _evaluation(paths: RunPaths, space: SearchSpace, missing: list[str]) -> Evaluation | None:
    try:
        place = main_evaluation(paths)
        if place is not None:
            return read_evaluation(place.file)
    except RunError as error:
        missing.append(f"Answers: {first_line(error)}")
        return None
    why = "the run has not come so far" if space.evaluation is not None else "the space has no section evaluation"
    missing.append(f"Answers, and whether val_loss agrees with them: {why}.")
    return None


def _plan(make: Callable[[], Plan] | None, missing: list[str]) -> Plan | None:
    what = "What trials select (functionally identical trials)"
    if make is None:
        missing.append(f"{what}: not asked for.")
        return None
    try:
        return make()
    except UserError as error:
        missing.append(f"{what}: the run's data is not at hand ({first_line(error)}).")
        return None


def _picks(paths: RunPaths, plan: Plan, trials: tuple[FrozenTrial, ...], missing: list[str]) -> dict[int, Int64Array]:
    settings = None if plan.evaluation is None else plan.evaluation.settings
    images = None if plan.evaluation is None else images_of(plan.evaluation.items)
    questions = choose_questions(plan.dataset, SplitName.VAL, None, 0 if settings is None else settings.seed, images)
    shots = plan.dataset.picks if settings is None else settings.shot_numbers[-1]
    complete = [row for row in rank([summary(trial) for trial in trials]) if row.is_complete]
    if len(complete) > MOST_LOADED:
        missing.append(f"What the others than the best {MOST_LOADED} of {len(complete)} complete trials select.")
    found = {}
    for row in complete[:MOST_LOADED]:
        try:
            side = open_side(str(row.number), paths, plan.space.health)
        except UserError as error:
            missing.append(f"What trial {row.number} selects: {first_line(error)}")
            continue
        found[row.number] = picks_of(side, plan.dataset, questions, shots)
    return found


def _groups(paths: RunPaths, space: SearchSpace, plan: Plan | None) -> Groups | None:
    if space.validation.metric is ValidationMetric.RCE:
        return None
    if plan is not None:
        return Groups(informative_groups(plan.summary), plan.summary.queries[Split.VAL])
    try:
        verdict = verdict_of_run(paths)
    except RunError:
        return None
    if verdict is None or verdict.informative_groups is None or verdict.validation_groups is None:
        return None
    return Groups(verdict.informative_groups, verdict.validation_groups)

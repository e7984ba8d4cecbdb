"""Measuring a space's beams with its model, on Ray, into a folder of native data."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from selector.data import Dataset, Split, describe
from selector.errors import DataError
from selector.rewards import compute_rewards
from sweep.collect.beams import Beams
from sweep.collect.extend import record_of
from sweep.collect.hours import HoursSpent
from sweep.collect.measure import CollectProgress, Measured, Measurement, collected_of
from sweep.collect.rounds import collect_in_rounds
from sweep.collect.store import store_collected
from sweep.driver.embedding import embedded
from sweep.driver.nodes import fit_workers
from sweep.driver.session import OpenScreen, Session, announce
from sweep.driver.signals import terminable
from sweep.execution.ray.cluster import connected
from sweep.execution.ray.options import RayOptions
from sweep.plan.collection import is_collected
from sweep.plan.make import plan_of_collected
from sweep.plan.plan import CollectionPlan, EmbeddingPlan, Plan
from sweep.plan.splits import informative_groups, informative_sentence, more_queries
from sweep.runs.driver import Phase
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath
from sweep.terminal.console import quiet
from sweep.vlm.answers.cached import Counts
from sweep.vlm.failure_limit import EvaluationError, FailureLimit
from sweep.vlm.pool.progress import PoolProgress
from sweep.vlm.service import AnswerService
from sweep.vlm.work import Result, WorkItem
from sweep.vqa.accuracy import accuracy

SECONDS_BETWEEN_REPORTS = 10.0
ENOUGH_TO_SAY = 10
"""Validation groups after which their share says something."""
LOW_SHARE = 0.3
"""Of informative groups, below which what helps is said. On A-OKVQA it was 28 of 127, and intervals were too wide."""


def collect(plan: Plan | CollectionPlan, session: Session) -> Plan:
    """The plan over measured data. What it lacks is measured now, unless somebody did it meanwhile.

    Raises:
        EvaluationError: too many beams have no answer.
        DataError: too little was answered to train on, or the folder cannot be written.
    """
    if isinstance(plan, CollectionPlan):
        if not is_collected(plan):
            session.cluster(plan.bytes)
            with terminable():
                session.pulse.phase(Phase.COLLECTING, "answers")
                name, watch, left_out = session.paths.name, session.pulse.answers, session.left_out.by_models
                counts = measure(plan, plan.folder, name, session.console, watch, left_out)
                session.pulse.prompts(counts.answered, counts.reused)
        plan = plan_of_collected(plan)
    session.name_data(plan)
    return plan


def collect_into(
    folder: Path, plan: CollectionPlan | EmbeddingPlan, ray: RayOptions, open_screen: OpenScreen = quiet
) -> None:
    """Measure a space's beams into a folder of their own, without a run.

    Args:
        folder: missing or empty.
        plan: what to measure, and to embed before.
        ray: which Ray is used.
        open_screen: gives the console that people see.

    Raises:
        as `collect`.
    """
    log = plan.request.shared.root / "collect.log"
    with open_screen(log) as console:
        try:
            with connected(folder.name, plan.bytes, ray) as cluster, terminable():
                announce(console, cluster, log)
                fit, left_out = fit_workers(plan, cluster, console)
                fit = embedded(fit, folder.name, console, left_out.by_models)
                measure(fit, stored_at(folder), folder.name, console, left_out=left_out.by_models)
        except KeyboardInterrupt:
            console.print("interrupted; the same command goes on, what was answered is kept", soft_wrap=True)
            raise


def measure(
    plan: CollectionPlan,
    folder: StoredPath,
    name: str,
    console: Console,
    watch: Callable[[PoolProgress], None] = lambda progress: None,
    left_out: Collection[str] = (),
) -> Asked:
    """Ask the model, and store what it answers. What was answered before, in whatever run, is not asked again.

    Args:
        plan: what to measure.
        folder: missing or empty; complete when this returns.
        name: shown in Ray's dashboard.
        console: shows progress, and what was measured in the end.
        watch: told of progress, too.
        left_out: ids of nodes that are of no use.
    """
    parent, budget = plan.parent, plan.settings.budget
    hours = None if budget is None or budget.hours is None else HoursSpent(_hours_file(plan), budget.hours)
    answers = plan.request.shared.answers_folder
    with AnswerService(plan.vlm, plan.items, answers, name, console, watch, left_out) as service:
        asking = _Asking(plan, service, console)
        service.start_ahead(plan.beams.work_items(), score=plan.settings.gt_prob)
        found = collect_in_rounds(
            plan.settings,
            plan.beams,
            asking,
            hours,
            None if parent is None else parent.measured,
            1 if parent is None else parent.next_round,
        )
        asking.check_failures()
        collected = collected_of(found.measured)
        record = record_of(plan.measured_by, found, "prompts" if hours is None else "hours", parent)
        store_collected(collected, folder, f"{plan.vlm.model.path} {service.identity[:16]}", record)
    if hours is not None:
        hours.forget()
    console.print(f"{asking.asked.sentence}  -> {folder}", highlight=False, soft_wrap=True)
    if found.is_cut:
        console.print(f"the budget of {record.cut_by} ended it", highlight=False)
    console.print(_about_validation(plan, collected.dataset), highlight=False, soft_wrap=True, markup=False)
    return asking.asked


def _hours_file(plan: CollectionPlan) -> StoredPath:
    return plan.folder.parent / f"{plan.folder.name}.hours.json"


def _about_validation(plan: CollectionPlan, dataset: Dataset) -> str:
    """How many validation groups decide val_loss. A run that cannot use the data is refused after this."""
    validation = plan.space.validation
    try:
        summary = describe(dataset, compute_rewards(dataset.outcomes, validation.reward))
    except DataError as error:
        return f"the validation reward cannot be computed from this data: {error}"
    groups = informative_groups(summary), summary.queries[Split.VAL]
    return informative_sentence(*groups, validation, more_queries(plan.request, Split.VAL))


@dataclass(frozen=True, slots=True)
class Asked:
    """Beams of all rounds so far. `failed` have no answer, known before or found now."""

    beams: int = 0
    answered: int = 0
    reused: int = 0
    failed: int = 0

    def and_those_of(self, counts: Counts) -> Asked:
        """With those of a further call."""
        failed = sum(one.count for one in counts.failed.values())
        return Asked(
            self.beams + counts.distinct,
            self.answered + counts.answered,
            self.reused + counts.reused,
            self.failed + failed,
        )

    @property
    def sentence(self) -> str:
        """What was collected."""
        return (
            f"collected {self.beams} beams: {self.answered} answered now, {self.reused} known before, "
            f"{self.failed} without an answer"
        )


class _Asking:
    """Has the beams of one round after the other answered, and counts."""

    def __init__(self, plan: CollectionPlan, service: AnswerService, console: Console) -> None:
        evaluation = plan.space.evaluation
        self._plan, self._service, self._console = plan, service, console
        self._limit = FailureLimit(1.0 if evaluation is None else evaluation.failure_limit)
        self._first = 1 if plan.parent is None else plan.parent.next_round
        self.asked = Asked()

    def __call__(self, beams: Beams) -> Measured:
        """Ask the model. What was answered before, in whatever run, is not asked again."""
        settings, number = self._plan.settings, int(beams.rounds[0])
        is_first = number == self._first
        score = partial(accuracy, normalisation=settings.metric)
        measurement = Measurement(beams, self._plan.items, score, gt_prob=settings.gt_prob)
        any_validation = bool((beams.queries.split == int(Split.VAL)).any())
        remedy = more_queries(self._plan.request, Split.VAL)
        reporter = _Reporter(measurement, self._console, remedy, any_validation=any_validation)
        if not is_first:
            self._console.print(
                f"round {number}: {len(beams)} more beams for {len(beams.queries)} queries", highlight=False
            )
        found = self._service.answer_all(
            beams.work_items(),
            "collecting",
            score=settings.gt_prob,
            failure_limit=self._limit.share if is_first else 1.0,  # few beams, so they count with all others
            observer=reporter,
            all_may_fail=not is_first,
        )
        if is_first:
            reporter.say(measurement.progress())
        self.asked = self.asked.and_those_of(found.counts)
        return measurement.measured()

    def check_failures(self) -> None:
        """Raise EvaluationError if too many beams of all rounds have no answer."""
        asked, failed = self.asked.beams, self.asked.failed
        if self._limit.is_exceeded(failed, asked):
            raise EvaluationError(
                f"{failed} of {asked} beams have no answer, which is more than {self._limit} allows; what was answered "
                "is stored, so mend these and give the same command again"
            )


class _Reporter:
    """Feeds results to the measurement and says now and then what they are like.

    Where few validation groups are informative, it says once what gives more of them, while there is time.
    """

    def __init__(self, measurement: Measurement, console: Console, remedy: str, *, any_validation: bool = True) -> None:
        self._measurement = measurement
        self._any_validation = any_validation
        self._console = console
        self._remedy = remedy
        self._warned = False
        self._said = time.monotonic()

    def __call__(self, item: WorkItem, result: Result) -> None:
        if self._measurement.add(item, result) and time.monotonic() - self._said > SECONDS_BETWEEN_REPORTS:
            self._said = time.monotonic()
            self.say(self._measurement.progress())

    def say(self, progress: CollectProgress) -> None:
        informative = (
            f"; {progress.informative_validation_groups} of {progress.validation_groups} validation groups are "
        )
        self._console.print(
            f"{progress.groups}/{progress.groups_total} groups: {progress.positive_beams_share:.1%} of beams and "
            f"{progress.positive_groups_share:.1%} of groups positive, {progress.zero_variance_share:.1%} without "
            f"variance{f'{informative}informative' if self._any_validation else ''}",
            highlight=False,
            soft_wrap=True,
        )
        share = progress.informative_validation_groups / max(progress.validation_groups, 1)
        if not self._warned and progress.validation_groups >= ENOUGH_TO_SAY and share < LOW_SHARE:
            self._warned = True
            self._console.print(
                "few validation groups are informative so far, and they alone decide val_loss: to have more, "
                f"{self._remedy}, or measure more beams for each query",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )

"""Measuring a space's beams with its model, on Ray, into a folder of native data."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from selector.data import Dataset, Split, describe
from selector.errors import DataError
from selector.rewards import compute_rewards
from sweep.collect.measure import CollectProgress, Measurement
from sweep.collect.store import store_collected
from sweep.driver.embedding import embedded
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
                counts = measure(plan, plan.folder, session.paths.name, session.console, session.pulse.answers)
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
                measure(embedded(plan, folder.name, console), stored_at(folder), folder.name, console)
        except KeyboardInterrupt:
            console.print("interrupted; the same command goes on, what was answered is kept", soft_wrap=True)
            raise


def measure(
    plan: CollectionPlan,
    folder: StoredPath,
    name: str,
    console: Console,
    watch: Callable[[PoolProgress], None] = lambda progress: None,
) -> Counts:
    """Ask the model, and store what it answers. What was answered before, in whatever run, is not asked again.

    Args:
        plan: what to measure.
        folder: missing or empty; complete when this returns.
        name: shown in Ray's dashboard.
        console: shows progress, and what was measured in the end.
        watch: told of progress, too.
    """
    settings, answers, evaluation = plan.settings, plan.request.shared.answers_folder, plan.space.evaluation
    score = partial(accuracy, normalisation=settings.metric)
    measurement = Measurement(plan.beams, plan.items, score, gt_prob=settings.gt_prob)
    reporter = _Reporter(measurement, console, more_queries(plan.request, Split.VAL))
    limit = 1.0 if evaluation is None else evaluation.failure_limit
    with AnswerService(plan.vlm, plan.items, answers, name, console, watch) as service:
        found = service.answer_all(
            plan.beams.work_items(), "collecting", score=settings.gt_prob, failure_limit=limit, observer=reporter
        )
        collected = measurement.collected()
        store_collected(collected, folder, f"{plan.vlm.model.path} {service.identity[:16]}")
    reporter.say(measurement.progress())
    counts = found.counts
    console.print(
        f"collected {counts.distinct} beams: {counts.answered} answered now, {counts.reused} known before, "
        f"{sum(failed.count for failed in counts.failed.values())} without an answer  -> {folder}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_about_validation(plan, collected.dataset), highlight=False, soft_wrap=True, markup=False)
    return counts


def _about_validation(plan: CollectionPlan, dataset: Dataset) -> str:
    """How many validation groups decide val_loss. A run that cannot use the data is refused after this."""
    validation = plan.space.validation
    try:
        summary = describe(dataset, compute_rewards(dataset.outcomes, validation.reward))
    except DataError as error:
        return f"the validation reward cannot be computed from this data: {error}"
    groups = informative_groups(summary), summary.queries[Split.VAL]
    return informative_sentence(*groups, validation, more_queries(plan.request, Split.VAL))


class _Reporter:
    """Feeds results to the measurement and says now and then what they are like.

    Where few validation groups are informative, it says once what gives more of them, while there is time.
    """

    def __init__(self, measurement: Measurement, console: Console, remedy: str) -> None:
        self._measurement = measurement
        self._console = console
        self._remedy = remedy
        self._warned = False
        self._said = time.monotonic()

    def __call__(self, item: WorkItem, result: Result) -> None:
        if self._measurement.add(item, result) and time.monotonic() - self._said > SECONDS_BETWEEN_REPORTS:
            self._said = time.monotonic()
            self.say(self._measurement.progress())

    def say(self, progress: CollectProgress) -> None:
        self._console.print(
            f"{progress.groups}/{progress.groups_total} groups: {progress.positive_beams_share:.1%} of beams and "
            f"{progress.positive_groups_share:.1%} of groups positive, {progress.zero_variance_share:.1%} without "
            f"variance; {progress.informative_validation_groups} of {progress.validation_groups} validation groups are "
            "informative",
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

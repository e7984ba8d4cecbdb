"""Measuring a space's beams with its model, on Ray, into a folder of native data that runs share."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from rich.console import Console

from sweep.collect.measure import CollectProgress, Measurement
from sweep.collect.store import store_collected
from sweep.errors import SpaceError
from sweep.plan.plan import Draft
from sweep.runs.paths import SharedPaths
from sweep.storage import mirror
from sweep.vlm.service import Asker
from sweep.vlm.work import Result, WorkItem
from sweep.vqa.accuracy import accuracy

SECONDS_BETWEEN_REPORTS = 10.0


def collect_data(planned: Draft, folder: Path, shared: SharedPaths, run: str, console: Console) -> None:
    """Measure the beams and store them. What was answered before, in whatever run, is not asked again.

    Args:
        planned: what to measure.
        folder: missing or empty; complete when this returns.
        shared: where answers are kept.
        run: name in Ray's dashboard.
        console: shows progress, and what was measured in the end.

    Raises:
        EvaluationError: too many beams have no answer.
        DataError: too little was answered to train on, or the folder cannot be written.
    """
    space, settings = planned.space, planned.space.collect
    if settings is None or space.vlm is None:
        raise SpaceError(f"space {space.name!r} has no section collect")
    table = planned.items.table
    score = partial(accuracy, mode=settings.metric)
    measurement = Measurement(planned.beams, table, score, gt_prob=settings.gt_prob)
    reporter = _Reporter(measurement, console)
    limit = 1.0 if space.evaluation is None else space.evaluation.failure_limit
    with Asker(space.vlm, table, shared, run, console) as asker:
        found = asker.ask(
            planned.beams.work_items(), "collecting", score=settings.gt_prob, failure_limit=limit, observer=reporter
        )
        collected = measurement.collected()
        store_collected(collected, folder, f"{space.vlm.model.path} {asker.identity[:16]}")
    reporter.say(measurement.progress())
    counts = found.counts
    console.print(
        f"collected {counts.distinct} beams: {counts.answered} answered now, {counts.reused} known before, "
        f"{sum(failed.count for failed in counts.failed.values())} without an answer  -> {mirror.shown(folder)}",
        highlight=False,
        soft_wrap=True,
    )


class _Reporter:
    """Feeds results to the measurement and says now and then what they are like."""

    def __init__(self, measurement: Measurement, console: Console) -> None:
        self._measurement = measurement
        self._console = console
        self._said = time.monotonic()

    def __call__(self, item: WorkItem, result: Result) -> None:
        if self._measurement.add(item, result) and time.monotonic() - self._said > SECONDS_BETWEEN_REPORTS:
            self._said = time.monotonic()
            self.say(self._measurement.progress())

    def say(self, progress: CollectProgress) -> None:
        self._console.print(
            f"{progress.groups}/{progress.groups_total} groups: {progress.positive_beams_share:.1%} of beams and "
            f"{progress.positive_groups_share:.1%} of groups positive, {progress.zero_variance_share:.1%} without "
            "variance",
            highlight=False,
            soft_wrap=True,
        )

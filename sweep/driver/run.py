"""One run from its folder to its ranking. The only place where space, data, study, Ray and table meet."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from rich.console import Console

from sweep.driver.collection import collect_data
from sweep.driver.create import _check_unchanged, _context
from sweep.driver.evaluation import evaluate_run
from sweep.driver.signals import _terminable
from sweep.driver.training import _kept, _train
from sweep.errors import RunError
from sweep.evaluation.records import Evaluation
from sweep.execution.coordinator import Coordinator
from sweep.execution.disk_bound import DiskBound
from sweep.execution.ray.options import FAIL_SOON, LOOPBACK_ONLY, RayOptions
from sweep.plan.checks import check_evaluation
from sweep.plan.collection import is_collected
from sweep.plan.plan import Draft, Plan
from sweep.plan.requests import plan_of_collected
from sweep.results.outcome import Outcome
from sweep.results.ranking import held_out_rows, ranking_document
from sweep.runs.find import refresh
from sweep.runs.paths import RunPaths, SharedPaths, place_of_data
from sweep.runs.record import RunRecord, read_record
from sweep.storage import mirror
from sweep.storage.files import write_json
from sweep.storage.lease import Lease
from sweep.study import StudyOwner, TrialSummary, read_summaries
from sweep.study.ranking import rank

if TYPE_CHECKING:
    from sweep.execution.ray.cluster import Cluster

logger = logging.getLogger(__name__)


def execute(plan: Plan | Draft, paths: RunPaths, console: Console, ray: RayOptions) -> Outcome:
    """Run or continue a run: collect its data if the space says so, train its trials, have the best ones answer
    held-out questions, rank.

    Raises:
        RunError: another driver holds the run, the data changed, Ray cannot be had, or the study failed on the way.
        KeyboardInterrupt: interrupted while trials were not running; the run can be resumed.
    """
    collecting = False
    with ExitStack() as stack:
        lock = stack.enter_context(_sole_driver(paths))
        record = read_record(paths)
        if isinstance(plan, Draft):
            _announce(stack.enter_context(on_ray(paths, plan.bytes, ray)), paths, console)
            collecting = True
            plan, record = _collected(plan, paths, record, console)
        _check_unchanged(plan, paths, record)
        check_evaluation(plan.space, plan.dataset, paths.shared)
        owner = StudyOwner.open(record.storage_url(paths), record.study, plan.space)
        stack.callback(owner.close)
        size = plan.dataset.embeddings.nbytes + plan.dataset.beam_picks.nbytes + plan.dataset.pool_items.nbytes
        cluster = stack.enter_context(on_ray(paths, size, ray))
        if not collecting:
            _announce(cluster, paths, console)
        if plan.space.evaluation is not None and plan.space.vlm is not None:
            from sweep.vlm.pool.pool import room_for

            room_for(plan.space.vlm.workers)  # better told now than when all trials have ended
        keep = stack.enter_context(_kept(paths, record, lock))
        bound = DiskBound(paths, plan.space, record.fingerprint, owner.summaries, partial(_say, console))
        coordinator = _train(plan, paths, owner, _context(plan, paths, record), console, cluster, keep, bound)
        ranked = rank(owner.summaries())
        judged = None
        if plan.space.evaluation and not coordinator.interrupted and any(row.is_complete for row in ranked):
            with _terminable():
                judged = evaluate_run(plan, paths, ranked, _context(plan, paths, record), console)
            bound.enforce()  # finalists and answers came besides
    return _finish(plan, paths, ranked, judged, coordinator)


def reevaluate(plan: Plan, paths: RunPaths, console: Console, ray: RayOptions) -> Evaluation:
    """Evaluate a run again, or for the first time: `sweep evaluate`. Trials that have not ended are left alone.

    Raises:
        RunError: no trial is complete, another driver holds the run, or the evaluation cannot be done.
    """
    with _sole_driver(paths):
        record = read_record(paths)
        _check_unchanged(plan, paths, record)
        check_evaluation(plan.space, plan.dataset, paths.shared)
        ranked = rank(read_summaries(record.storage_url(paths), record.study))
        if not any(row.is_complete for row in ranked):
            raise RunError(f"run {paths.name} has no complete trial yet, so there is nothing to evaluate")
        with on_ray(paths, plan.dataset.embeddings.nbytes, ray), _terminable():
            judged = evaluate_run(plan, paths, ranked, _context(plan, paths, record), console)
            write_json(paths.ranking_file, ranking_document(plan, ranked, [], judged))
    return judged


def collect_only(planned: Draft, folder: Path, shared: SharedPaths, console: Console, ray: RayOptions) -> None:
    """Measure a space's beams into a folder of their own: `sweep collect`."""
    with on_ray(RunPaths(folder), planned.bytes, ray), _terminable():
        collect_data(planned, folder, shared, folder.name, console)


def _finish(
    plan: Plan, paths: RunPaths, ranked: list[TrialSummary], judged: Evaluation | None, coordinator: Coordinator
) -> Outcome:
    rows = held_out_rows(plan, paths, ranked) if judged is None and any(row.is_complete for row in ranked) else []
    if not coordinator.interrupted:
        write_json(paths.ranking_file, ranking_document(plan, ranked, rows, judged))
    return Outcome(paths, ranked, rows, judged, coordinator.interrupted, coordinator.ended_because)


def _collected(draft: Draft, paths: RunPaths, record: RunRecord, console: Console) -> tuple[Plan, RunRecord]:
    """The plan over data that is collected now, and the record that names that data from now on."""
    if not is_collected(draft):
        with _terminable():
            collect_data(draft, draft.folder, paths.shared, paths.name, console)
    plan = plan_of_collected(draft)
    if record.data_fingerprint is None:
        known = {"data": place_of_data(paths, draft.folder), "data_fingerprint": plan.summary.fingerprint}
        record = record.model_copy(update=known)
        write_json(paths.run_file, record.model_dump(mode="json"), private=True)
    return plan, record


@contextmanager
def on_ray(paths: RunPaths, data_bytes: int, ray: RayOptions) -> Iterator[Cluster]:
    """Ray, started or joined. Within such a context another one changes nothing."""
    os.environ.update(LOOPBACK_ONLY if ray.address is None else FAIL_SOON)
    from sweep.execution.ray import cluster  # takes a second, which `validate` and `status` need not wait

    with cluster.connected(paths.name, data_bytes, ray) as found:
        yield found


def _announce(cluster: Cluster, paths: RunPaths, console: Console) -> None:
    """Where to watch."""
    from sweep.execution.ray.cluster import HOW_TO_SIGN_IN

    hint = f"  ({HOW_TO_SIGN_IN})" if cluster.dashboard and cluster.token else ""
    console.print(f"dashboard  {cluster.dashboard or 'none'}{hint}", highlight=False)
    console.print(f"metrics    {cluster.metrics or 'none'}", highlight=False)
    console.print(f"log        {mirror.shown(paths.log_file)}", highlight=False, soft_wrap=True)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _sole_driver(paths: RunPaths) -> Iterator[FileLock | Lease]:
    lock = mirror.lock(paths.lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"run {paths.name} is being driven by another process; `sweep status {paths.shown}` shows it"
        ) from None
    try:
        refresh(paths)  # what an earlier driver stored between our looking and its end
        yield lock
    finally:
        lock.release()

"""The pool's workers: started when there is work, started anew when they die, given up when that does not help.

Ray could restart actors itself (`max_restarts`) and repeat their calls. But it would not say which batch was in the
hands of a worker that died, and a batch that kills its worker would be repeated whole. So every actor lives once, and
its successor is a new one with a new number. Results and caches of the dead are never mistaken for those of the living.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sweep.errors import ClusterError, RunError
from sweep.settings.vlm import WorkerSettings
from sweep.vlm.pool.capacity import capacity_of
from sweep.vlm.pool.nodes import Node, living_nodes, selector_of, usable_nodes
from sweep.vlm.pool.worker import CallFailed, VlmWorker, fetch
from sweep.vlm.work import WorkItem

logger = logging.getLogger(__name__)

Ref = Any  # ray.ObjectRef: Ray is untyped

FAILED_STARTS = 3  # in a row, after which a place stays empty
HOPELESS = 30  # deaths in a row, of all workers together, without a single result between them
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before the second start in a row; doubled from there
SECONDS_BETWEEN_LOOKS = 2.0  # at the nodes of the cluster
IDLE_SECONDS = 1.0  # how long nothing may happen before starts and deadlines are looked at


class State(StrEnum):
    """What a worker is at."""

    PLACING = "placing"  # Ray looks for a node with free resources
    LOADING = "loading"
    READY = "ready"


@dataclass(frozen=True)
class Batch:
    """Work items of one call. `tries`: how often one of their calls has ended without results."""

    items: tuple[WorkItem, ...]
    tries: int = 0


@dataclass
class Worker:
    """An actor as the driver sees it. Times are those of the monotonic clock.

    Attributes:
        number: used once, never again.
        ref: the call that it starts with, while it starts.
        since: when it was asked for, or when somebody began to wait for it.
        calls: in flight, the oldest first.
        busy_since: when it began what it is at now.
        node: the id of its node, once it is placed.
        leaving: its node will soon be gone, so it gets no more work.
        loaded: the call that loads its model. It is sent along with the first one.
    """

    number: int
    place: int
    name: str
    actor: Any
    ref: Ref
    since: float
    state: State = State.PLACING
    calls: deque[tuple[Ref, Batch]] = field(default_factory=deque)
    busy_since: float = 0.0
    node: str = ""
    leaving: bool = False
    loaded: Ref = None


@dataclass
class _Place:
    """Where a worker is, was or will be."""

    failed_starts: int = 0
    deaths: int = 0
    not_before: float = 0.0
    closed: bool = False
    worker: Worker | None = None


class Workers:
    """Up to `size` workers. Their number grows with the cluster, up to what the settings allow.

    On a node that is about to leave, workers end what they are at. Others take their place elsewhere.

    `start` and `wait` raise RunError if a model cannot be loaded because of a mistake of the user's. Its message is the
    worker's. They raise ClusterError if no worker can be started, or if workers die without ever giving a result.
    """

    def __init__(
        self,
        load: Callable[[Any], Ref],
        settings: WorkerSettings,
        name: str,
        size: int,
        patience: float,
        say: Callable[[str], None],
        most: Callable[[], int | None] = lambda: None,
        look: Callable[[], list[Node]] = living_nodes,
        left_out: Collection[str] = (),
    ) -> None:
        """Prepare. Nothing is started yet.

        Args:
            load: calls a placed actor's `load`.
            settings: of the workers.
            name: of the run.
            size: workers that fit the cluster now.
            patience: in seconds.
            say: shows people a line.
            most: fewer workers than the settings allow, for a time. None: no fewer.
            look: gives the cluster's nodes.
            left_out: ids of nodes that are of no use.
        """
        import ray

        self._load = load
        self._say = say
        self._settings = settings
        self._name = name
        self._patience = patience
        self._look, self._most, self._left_out = look, most, left_out
        self._looked = time.monotonic()
        self._places = [_Place() for _ in range(size)]
        self._numbers = 0
        self._deaths = 0
        self._reason = ""
        # Ray names actors after their class: the dashboard then shows whose they are.
        kind = type(f"{settings.actor}[{name}]", (VlmWorker,), {})
        self._kind = ray.remote(kind).options(
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            label_selector=selector_of(settings.labels, left_out),
            scheduling_strategy="SPREAD",  # two workers on two nodes, and not on one of them
        )

    @property
    def size(self) -> int:
        """Workers that there may be at once."""
        return len(self._places)

    def alive(self, state: State | None = None) -> list[Worker]:
        """All, or those in one state."""
        found = [place.worker for place in self._places if place.worker is not None]
        return [worker for worker in found if state in (None, worker.state)]

    def start(self, wanted: int) -> None:
        """Start workers until there are `wanted`, as far as places are open and no start must wait."""
        now = time.monotonic()
        missing = wanted - sum(not worker.leaving for worker in self.alive())
        for number, place in enumerate(self._places):
            if missing > 0 and place.worker is None and not place.closed and place.not_before <= now:
                place.worker = self._start(number)
                missing -= 1
        self._check_hope(now)

    def follow_nodes(self) -> list[Worker]:
        """Look at the cluster now and then: there may be room for more workers, or nodes that are about to leave.

        Returns:
            Workers that get no more work from now on, because their nodes are leaving.
        """
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return []
        self._looked = time.monotonic()
        nodes = self._look()
        resources = [node.resources for node in usable_nodes(nodes, self._settings.labels, self._left_out)]
        fitting = capacity_of(resources, self._settings.cpus, self._settings.gpus)
        more = min(self._settings.count or fitting, self._most() or fitting, fitting) - self.size
        self._places += [_Place() for _ in range(more)]
        if more > 0:
            logger.info("the cluster has room for %d more workers of %s", more, self._settings.holds)
        gone = {node.identity for node in nodes if node.leaving}
        leaving = [worker for worker in self.alive(State.READY) if worker.node in gone and not worker.leaving]
        for worker in leaving:
            worker.leaving = True
            self._say(f"{worker.name}: its node is about to leave, so it gets no more work")
        return leaving

    def release_idle(self) -> None:
        """End the workers on leaving nodes that have ended what they were at."""
        for worker in self.alive():
            if worker.leaving and not worker.calls:
                self._remove(worker, 0)

    def _start(self, place: int) -> Worker:
        self._numbers += 1
        name = f"{self._settings.actor}[{self._name}] {place + 1}"
        actor = self._kind.remote(name)
        where = actor.where.remote()  # the first call, so that there is an answer before the model is loaded
        return Worker(self._numbers, place, name, actor, where, time.monotonic(), loaded=self._load(actor))

    def await_places(self) -> None:
        """Somebody waits from now on for workers that were started ahead, so patience counts from now."""
        for worker in self.alive(State.PLACING):
            worker.since = time.monotonic()

    def _check_hope(self, now: float) -> None:
        if all(place.closed for place in self._places):
            raise ClusterError(f"no worker of {self._settings.holds} can be started: {self._reason}")
        workers = self.alive()
        oldest = min((worker.since for worker in workers), default=now)
        if all(worker.state is State.PLACING for worker in workers) and now - oldest > self._patience:
            import ray

            has, free = ray.cluster_resources(), ray.available_resources()
            raise ClusterError(
                f"no worker of {self._settings.holds} got its {self._settings.cpus:g} CPUs and "
                f"{self._settings.gpus:g} GPUs within {self._patience:g} s: of the cluster's {has.get('CPU', 0):g} "
                f"CPUs and {has.get('GPU', 0):g} GPUs, {free.get('CPU', 0):g} and {free.get('GPU', 0):g} are free"
            )

    def send(self, worker: Worker, batch: Batch, score: bool) -> None:
        """Give a ready worker a batch, behind those that it has."""
        if not worker.calls:
            worker.busy_since = time.monotonic()
        worker.calls.append((worker.actor.answer.remote(list(batch.items), score), batch))

    def outcome(self, ref: Ref, timeout: float | None = None) -> list[Any] | CallFailed:
        """How a batch ended, or that it has not within `timeout` seconds."""
        outcome: list[Any] | CallFailed = fetch(ref, timeout)
        return outcome

    def wait(self) -> list[tuple[Worker, Ref]]:
        """Calls that have ended, after at most about a second. Waits while there are none."""
        import ray

        of = {worker.ref: worker for worker in self.alive() if worker.state is not State.READY}
        of |= {ref: worker for worker in self.alive() for ref, _ in worker.calls}
        if not of:
            time.sleep(min(IDLE_SECONDS, max(0.01, self._next_start() - time.monotonic())))
            return []
        refs = list(of)
        ended, _ = ray.wait(refs, num_returns=1, timeout=IDLE_SECONDS, fetch_local=False)
        if ended:
            ended, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        return [(of[ref], ref) for ref in ended]

    def _next_start(self) -> float:
        return min((place.not_before for place in self._places if not place.closed), default=0.0)

    def advance(self, worker: Worker) -> bool:
        """The call that a worker starts with has ended. Returns whether the worker is ready now."""
        outcome = fetch(worker.ref)
        if isinstance(outcome, CallFailed):
            self._failed_start(worker, outcome)
        elif worker.state is State.PLACING:
            where, worker.node = outcome
            logger.info("%s: %s", worker.name, where)
            worker.state, worker.ref = State.LOADING, worker.loaded
            worker.busy_since = time.monotonic()
        else:
            worker.state = State.READY
            self._places[worker.place].failed_starts = 0
        return worker.state is State.READY

    def hung(self) -> list[tuple[Worker, str]]:
        """Workers that have taken too long for a batch, and why that counts as lost. One still loading is given up."""
        limit, now = self._settings.batch_seconds, time.monotonic()
        late = [worker for worker in self.alive() if now - worker.busy_since > limit]
        for worker in late:
            if worker.state is State.LOADING:
                self._failed_start(worker, CallFailed(f"its model was not loaded within {limit:g} s"))
        reason = f"it gave nothing for {limit:g} s ({self._settings.section}.batch_seconds)"
        return [(worker, reason) for worker in late if worker.state is State.READY and worker.calls]

    def _failed_start(self, worker: Worker, outcome: CallFailed) -> None:
        place = self._places[worker.place]
        place.failed_starts += 1
        place.closed = outcome.mistake or place.failed_starts >= FAILED_STARTS
        self._reason = outcome.reason
        self._remove(worker, place.failed_starts)
        told = f"{worker.name} did not start{', for good' if place.closed else ''}: {outcome.reason}"
        logger.warning("%s", told)
        if place.closed:
            self._say(told)
        if outcome.mistake and all(other.state is State.PLACING for other in self.alive()):
            raise RunError(outcome.reason)

    def died(self, worker: Worker, reason: str) -> None:
        """A worker that was at work is lost, or not to be trusted any more."""
        place = self._places[worker.place]
        if worker.leaving:  # as was announced
            self._remove(worker, 0)
            return
        place.deaths += 1
        self._deaths += 1
        self._remove(worker, place.deaths)
        logger.warning("%s is replaced: %s", worker.name, reason)
        if self._deaths >= HOPELESS:
            raise ClusterError(
                f"workers of {self._settings.holds} ended {self._deaths} times in a row without a single answer, "
                f"the last time because {reason}"
            )

    def proven(self, worker: Worker) -> None:
        """A worker has given results. What it was sent after that is what it is at now."""
        worker.busy_since = time.monotonic()
        self._deaths = self._places[worker.place].deaths = 0

    def _remove(self, worker: Worker, failures: int) -> None:
        import ray

        ray.kill(worker.actor)
        place = self._places[worker.place]
        place.worker = None
        delay = 0.0 if failures < 2 else min(LONGEST_DELAY, FIRST_DELAY * 2 ** (failures - 2))
        place.not_before = time.monotonic() + delay

    def kill(self, workers: Iterable[Worker]) -> None:
        """End workers that nobody waits for."""
        import ray
        from ray.exceptions import RayError

        for worker in workers:
            with suppress(RayError):  # the cluster may be gone before us
                ray.kill(worker.actor)
            self._places[worker.place].worker = None

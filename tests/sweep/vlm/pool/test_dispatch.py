"""The bookkeeping against simulated workers: thousands of histories that would take hours with real ones."""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.errors import RunError
from sweep.settings.vlm import WorkerSettings
from sweep.vlm.pool.dispatch import Dispatch, window
from sweep.vlm.pool.progress import Meter
from sweep.vlm.pool.shards import Shards
from sweep.vlm.pool.worker import CallFailed
from sweep.vlm.pool.workers import Batch, State, Worker
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem


@dataclass
class SimulatedWorkers:
    """Workers that answer one batch per moment, in an order that `random` draws.

    Attributes:
        kills: how many times a worker is killed from outside, at any time.
        notices: how many times a node announces that it leaves. Its worker is killed from then on, at any time.
        deadly, raising, hanging: queries that end their worker's process, raise and leave it as it is, or never end.
    """

    size: int
    random: random.Random
    kills: int = 0
    notices: int = 0
    deadly: frozenset[int] = frozenset()
    raising: frozenset[int] = frozenset()
    hanging: frozenset[int] = frozenset()
    there: list[Worker] = field(default_factory=list)
    outcomes: dict[int, list[Result] | CallFailed] = field(default_factory=dict)
    queued: dict[int, deque[tuple[int, Batch]]] = field(default_factory=dict)
    answered: Counter[WorkItem] = field(default_factory=Counter)
    refs: int = 0

    def alive(self, state: State | None = None) -> list[Worker]:
        return [worker for worker in self.there if state in (None, worker.state)]

    def follow_nodes(self) -> list[Worker]:
        staying = [worker for worker in self.alive(State.READY) if not worker.leaving]
        if not (self.notices and staying and self.random.random() < 0.3):
            return []
        self.notices -= 1
        staying[0].leaving = True
        return staying[:1]

    def release_idle(self) -> None:
        self.there = [worker for worker in self.there if worker.calls or not worker.leaving]

    def start(self, wanted: int) -> None:
        while sum(not worker.leaving for worker in self.there) < min(wanted, self.size):
            self.refs += 1
            self.there.append(Worker(self.refs, 0, f"worker {self.refs}", None, self.refs, 0.0))
            self.queued[self.refs] = deque()

    def send(self, worker: Worker, batch: Batch, score: bool) -> None:
        self.refs += 1
        worker.calls.append((self.refs, batch))
        self.queued[worker.number].append((self.refs, batch))

    def outcome(self, ref: int, timeout: float | None = None) -> list[Result] | CallFailed:
        assert timeout == 0 or ref in self.outcomes
        return self.outcomes.get(ref, CallFailed("not finished"))

    def advance(self, worker: Worker) -> bool:
        worker.state = State.READY
        return True

    def proven(self, worker: Worker) -> None:
        pass

    def died(self, worker: Worker, reason: str) -> None:
        self.there.remove(worker)

    def wait(self) -> list[tuple[Worker, int]]:
        """Let some moments pass, in which several calls may end, or their answers arrive late."""
        for _ in range(self.random.randint(1, 4)):
            worker = self.random.choice(self.there)
            if self.kills and worker.state is State.READY and self.random.random() < 0.1:
                self.kills -= 1
                self._die(worker)
            elif worker.leaving and self.random.random() < 0.3:
                self._die(worker)
            elif self.queued[worker.number]:
                self._work(worker, *self.queued[worker.number].popleft())
        told = [(worker, worker.ref) for worker in self.there if worker.state is not State.READY]
        told += [(worker, ref) for worker in self.there for ref, _ in worker.calls if ref in self.outcomes]
        self.random.shuffle(told)
        return told[: self.random.randint(0, len(told))]

    def _work(self, worker: Worker, ref: int, batch: Batch) -> None:
        queries = {item.query for item in batch.items}
        if queries & self.deadly:
            self.queued[worker.number].appendleft((ref, batch))
            self._die(worker)
        elif queries & self.raising:
            self.outcomes[ref] = CallFailed("ValueError")
        elif queries & self.hanging:
            self.queued[worker.number].appendleft((ref, batch))
        else:
            self.answered.update(batch.items)
            self.outcomes[ref] = [answer(item) for item in batch.items]

    def hung(self) -> list[tuple[Worker, str]]:
        at_front = ((worker, self.queued[worker.number]) for worker in self.there)
        hanging = [
            worker for worker, queue in at_front if queue and {item.query for item in queue[0][1].items} & self.hanging
        ]
        return [(worker, "it gave nothing") for worker in hanging if self.random.random() < 0.5]

    def _die(self, worker: Worker) -> None:
        for ref, _ in self.queued[worker.number]:
            self.outcomes[ref] = CallFailed("its process died")
        self.queued[worker.number].clear()
        self.queued[worker.number] = Dead(self.outcomes)


class Dead(deque):
    """The calls of a process that is gone."""

    def __init__(self, outcomes) -> None:
        super().__init__()
        self.outcomes = outcomes

    def append(self, call) -> None:
        self.outcomes[call[0]] = CallFailed("its process died")


def answer(item: WorkItem) -> Answer:
    return Answer(str(item), None, 1)


def run(workers: SimulatedWorkers, worker_settings: WorkerSettings, items) -> list[tuple[WorkItem, Result]]:
    dispatch = Dispatch(workers, Shards(), worker_settings, iter(items), False, Meter(None))
    return [pair for bundle in dispatch.bundles() for pair in bundle]


work = st.lists(st.builds(WorkItem, st.integers(0, 9), st.tuples(st.integers(0, 2))), max_size=60)
pools = st.builds(
    WorkerSettings, in_flight=st.integers(1, 3), batch=st.integers(1, 9), retries=st.integers(0, 4), cpus=st.just(1)
)
randoms = st.integers(0, 2**32).map(random.Random)
poisons = st.frozensets(st.integers(0, 9), max_size=3)


@settings(max_examples=300)
@given(work, pools, st.integers(1, 4), randoms, poisons, poisons, poisons)
def test_only_the_poisoned_fail_and_nobody_is_answered_twice(items, pool, size, rng, deadly, raising, hanging) -> None:
    workers = SimulatedWorkers(size, rng, deadly=deadly, raising=raising, hanging=hanging)
    results = run(workers, pool, items)
    assert Counter(item for item, _ in results) == Counter(items)
    for item, result in results:
        if item.query in deadly | raising | hanging:
            assert isinstance(result, Failure)
            assert result.kind is FailureKind.CRASH
        else:
            assert result == answer(item)
    innocent = Counter(item for item in items if item.query not in deadly | raising | hanging)
    if not raising:  # a process that has raised may answer its next batch before it is replaced
        assert workers.answered == innocent


@settings(max_examples=300)
@given(work, pools, st.integers(1, 4), randoms, poisons)
def test_kills_from_outside_lose_nothing(items, pool, size, rng, deadly) -> None:
    workers = SimulatedWorkers(size, rng, kills=pool.retries, deadly=deadly)
    results = run(workers, pool, items)
    assert Counter(item for item, _ in results) == Counter(items)
    assert all(isinstance(result, Failure) for item, result in results if item.query in deadly)
    innocent = [result for item, result in results if item.query not in deadly and isinstance(result, Failure)]
    assert len(innocent) <= (pool.retries if deadly else 0)


@settings(max_examples=100, deadline=None)
@given(work, pools, st.integers(1, 4), randoms)
def test_nodes_that_leave_as_announced_cost_no_item_anything(items, pool, size, rng) -> None:
    workers = SimulatedWorkers(size, rng, notices=20)
    results = run(workers, pool.replace(retries=0), items)
    assert Counter(item for item, _ in results) == Counter(items)
    assert all(result == answer(item) for item, result in results)


@settings(max_examples=300)
@given(work, pools, st.integers(1, 4), randoms, st.integers(0, 3))
def test_with_scores_queries_are_never_divided_while_nothing_is_poisoned(items, pool, size, rng, kills) -> None:
    items = sorted(items)
    whole = Counter(item.query for item in items)
    patient = pool.model_copy(update={"retries": kills + 1})
    workers = SimulatedWorkers(size, rng, kills=kills)
    batches: list[Batch] = []
    send = workers.send

    def recorded(worker: Worker, batch: Batch, score: bool) -> None:
        batches.append(batch)
        send(worker, batch, score)

    workers.send = recorded
    dispatch = Dispatch(workers, Shards(), patient, iter(items), True, Meter(None))
    results = [pair for bundle in dispatch.bundles() for pair in bundle]
    assert Counter(item for item, _ in results) == Counter(items)
    for batch in batches:
        for query, count in Counter(item.query for item in batch.items).items():
            assert count == whole[query]


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), randoms)
def test_the_iterable_is_never_read_further_ahead_than_the_window(batch, in_flight, size, rng) -> None:
    read, count = [0], 300
    pool = WorkerSettings(batch=batch, in_flight=in_flight)

    def source():
        for number in range(count):
            read[0] += 1
            yield WorkItem(number // 4)

    dispatch = Dispatch(SimulatedWorkers(size, rng), Shards(), pool, source(), False, Meter(None))
    done = 0
    for bundle in dispatch.bundles():
        assert read[0] - done <= window(pool, size)
        done += len(bundle)
    assert done == count


def test_the_last_batches_are_small_so_that_workers_end_together() -> None:
    sizes = []
    workers = SimulatedWorkers(4, random.Random(1))
    send = workers.send
    workers.send = lambda worker, batch, score: (sizes.append(len(batch.items)), send(worker, batch, score))
    run(workers, WorkerSettings(batch=64), (WorkItem(query) for query in range(4000)))
    assert max(sizes) == 64
    assert sizes[:40] == [64] * 40
    assert 8 <= sizes[-2] <= 16


def test_a_mistake_of_the_users_ends_the_run() -> None:
    workers = SimulatedWorkers(2, random.Random(1))
    workers._work = lambda worker, ref, batch: workers.outcomes.update(
        {ref: CallFailed("no such placeholder", mistake=True)}
    )
    with pytest.raises(RunError, match=r"^no such placeholder$"):
        run(workers, WorkerSettings(), [WorkItem(1)])


def test_no_more_workers_than_the_work_needs() -> None:
    workers = SimulatedWorkers(8, random.Random(1))
    run(workers, WorkerSettings(batch=64), (WorkItem(query) for query in range(20)))
    assert len(workers.there) == 3  # of 8 items at least

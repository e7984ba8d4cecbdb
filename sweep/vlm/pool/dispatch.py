"""Which batch goes where, and what becomes of it.

A worker that dies, raises or hangs is replaced by a fresh process: after a device error nothing that the old one says
can be trusted. Calls run in the order in which they were sent. So the oldest one without results is the suspect, and
only it. What lay behind it goes back unblamed. A suspect batch is tried again in smaller batches and finally item by
item, so that its innocent items get their answers. An item that ends a worker alone, `retries` times after its first,
is a `Failure` of kind CRASH. Nothing is suspect on a node that leaves as it was announced.

The last bits of a probability depend on what is computed beside it. With scores a query's items therefore stay
together, in one call of their own to the model, if the iterable has them side by side. Then these bits do not depend on
workers, kills and order.

A mistake of the user's (a prompt that does not fit the model) is no item's fault and ends the run with its message.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Generic, TypeVar

from sweep.errors import RunError
from sweep.settings.vlm import WorkerSettings
from sweep.vlm.pool.progress import Meter
from sweep.vlm.pool.shards import Shards
from sweep.vlm.pool.worker import CallFailed
from sweep.vlm.pool.workers import Batch, Ref, State, Worker, Workers
from sweep.vlm.work import Failure, FailureKind, WorkItem

Given = TypeVar("Given")

LOOK_AHEAD = 4  # batches per worker that wait beside those in flight
SMALLEST = 8  # the last batches shrink to this part of a whole one, so that workers end together


def workers_for(settings: WorkerSettings, items: int) -> int:
    """How many workers so many work items can keep busy."""
    return math.ceil(items / _smallest(settings))


def _smallest(settings: WorkerSettings) -> int:
    return math.ceil(settings.batch / SMALLEST)


def window(settings: WorkerSettings, workers: int) -> int:
    """How far a pool of this size reads ahead."""
    return workers * settings.batch * (settings.in_flight + LOOK_AHEAD)


class Dispatch(Generic[Given]):
    """One iterable on its way through the workers.

    Invariant: an item that was read and has no result yet is waiting, suspect, or in one call.
    """

    def __init__(
        self,
        workers: Workers,
        shards: Shards,
        settings: WorkerSettings,
        source: Iterator[WorkItem],
        score: bool,
        meter: Meter,
    ) -> None:
        self._meter = meter
        self._workers = workers
        self._shards = shards
        self._settings = settings
        self._source = source
        self._exhausted = False
        self._held: WorkItem | None = None  # read, but not yet to be given out
        self._score = score
        self._open = 0  # read, but without a result
        self._suspects: deque[Batch] = deque()

    def bundles(self) -> Iterator[list[tuple[WorkItem, Given | Failure]]]:
        """Results in bundles, some of them empty."""
        while self._read():
            for worker in self._workers.follow_nodes():
                self._shards.leave(worker.number)
            self._workers.release_idle()
            self._workers.start(workers_for(self._settings, self._open))
            self._dispatch()
            for worker, ref in self._workers.wait():
                results = self._advance(worker, ref)
                self._open -= len(results)
                yield results
            for worker, reason in self._workers.hung():
                results = self._lost(worker, reason)
                self._open -= len(results)
                yield results
            yield []  # so that who reads this can end it while nothing comes

    def _read(self) -> bool:
        """Fill the window. Returns whether anything is left to do."""
        if not self._exhausted:
            ahead = self._ahead(max(0, window(self._settings, self._workers.size) - self._open))
            self._open += len(ahead)
            self._shards.add(ahead)
        return self._open > 0

    def _ahead(self, count: int) -> list[WorkItem]:
        """The next `count` items. With scores the rest of the last one's query too, which is not divided."""
        held = [self._held] if self._held is not None and count else []
        ahead = [*held, *islice(self._source, count - len(held))]
        self._exhausted = len(ahead) < count
        if count:
            self._held = None
        if self._score and ahead:
            for item in self._source:
                if item.query != ahead[-1].query:
                    self._held = item
                    break
                ahead.append(item)
        return ahead

    def _dispatch(self) -> None:
        """Give out batches, the least busy worker first."""
        ready = [worker for worker in self._workers.alive(State.READY) if not worker.leaving]
        while self._shards or self._suspects:
            worker = min(ready, key=lambda one: len(one.calls), default=None)
            if worker is None or len(worker.calls) >= self._settings.in_flight:
                return
            batch = self._suspects.popleft() if self._suspects else self._next_batch(worker)
            self._meter.begin()
            self._workers.send(worker, batch, self._score)

    def _next_batch(self, worker: Worker) -> Batch:
        size = self._settings.batch
        alive = len(self._workers.alive())
        if self._exhausted and alive > 1:
            share = math.ceil(len(self._shards) / (alive * self._settings.in_flight))
            size = min(size, max(share, _smallest(self._settings)))
        return Batch(tuple(self._shards.take(worker.number, size, whole=self._score)))

    def _advance(self, worker: Worker, ref: Ref) -> list[tuple[WorkItem, Given | Failure]]:
        """A call has ended: results, if it was a batch."""
        if worker.state is not State.READY:
            if worker.ref == ref and self._workers.advance(worker):
                self._shards.join(worker.number, worker.node)
            return []
        batch = next((batch for known, batch in worker.calls if known == ref), None)
        if batch is None:
            return []  # one of several calls of a worker that was lost; all of them are dealt with
        outcome = self._workers.outcome(ref)
        if isinstance(outcome, CallFailed) and outcome.mistake:
            raise RunError(outcome.reason)
        if isinstance(outcome, CallFailed):
            return self._lost(worker, outcome.reason)
        worker.calls.remove((ref, batch))
        return self._answered(worker, batch, outcome)

    def _answered(
        self, worker: Worker, batch: Batch, results: list[Given | Failure]
    ) -> list[tuple[WorkItem, Given | Failure]]:
        self._workers.proven(worker)
        failed = sum(isinstance(result, Failure) for result in results)
        self._meter.count(len(results), failed, worker.name)
        return list(zip(batch.items, results, strict=True))

    def _lost(self, worker: Worker, reason: str) -> list[tuple[WorkItem, Given | Failure]]:
        """Whatever a lost worker finished counts. The first batch that it did not finish is to blame."""
        results: list[tuple[WorkItem, Given | Failure]] = []
        blamed: Batch | None = None
        for ref, batch in worker.calls:
            outcome = self._workers.outcome(ref, timeout=0)
            if not isinstance(outcome, CallFailed):
                results += self._answered(worker, batch, outcome)
            elif blamed is None and not worker.leaving:
                blamed = batch
            elif batch.tries:
                self._suspects.append(batch)
            else:
                self._shards.add(batch.items)
        worker.calls.clear()
        if not worker.leaving:  # else it has left already
            self._shards.leave(worker.number)
        if blamed is not None or worker.leaving:
            self._workers.died(worker, reason)
        if blamed is not None:
            results += self._blame(blamed, reason)
        return results

    def _blame(self, batch: Batch, reason: str) -> list[tuple[WorkItem, Given | Failure]]:
        """Try again in smaller batches, and on the last try at the latest each item alone."""
        tries = batch.tries + 1
        if len(batch.items) == 1 and tries > self._settings.retries:
            times = "once" if tries == 1 else f"{tries} times"
            failure = Failure(FailureKind.CRASH, f"ended its worker {times}, the last time alone: {reason}")
            self._meter.count(1, 1, None)
            return [(batch.items[0], failure)]
        if self._score and tries < self._settings.retries:
            parts = [tuple(group) for _, group in groupby(batch.items, key=lambda item: item.query)]
        else:
            size = 1 if tries >= self._settings.retries else math.isqrt(len(batch.items))
            parts = [batch.items[begin : begin + size] for begin in range(0, len(batch.items), size)]
        self._suspects += (Batch(part, tries) for part in parts)
        return []

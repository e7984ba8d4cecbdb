"""Which worker gets which work items. Pure bookkeeping: no Ray, no clock.

A shard is all waiting items of one query. It belongs to the worker that was first given items of this query, whose
caches hold its images and the beginnings of its prompts.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable

from sweep.vlm.work import WorkItem

Queue = OrderedDict[int, deque[WorkItem]]


class Shards:
    """Waiting work items by owner.

    Invariants: an item that was added is given out exactly once. All waiting items of a query are in one queue.
    A worker that has nothing of its own, while nothing is without an owner, takes from the one that has most.
    """

    def __init__(self) -> None:
        self._owner: dict[int, int] = {}  # of queries; a worker that has left owns nothing any more
        self._unowned: Queue = OrderedDict()
        self._owned: dict[int, Queue] = {}
        self._waiting: dict[int, int] = {}
        self._total = 0
        self._undivided = False

    def __len__(self) -> int:
        """Waiting items."""
        return self._total

    def join(self, worker: int) -> None:
        """A worker is ready for its first items. Numbers of workers are never used again."""
        self._owned[worker] = OrderedDict()
        self._waiting[worker] = 0

    def leave(self, worker: int) -> None:
        """A worker is gone, and its caches with it: what waits for it is anybody's."""
        for query, shard in self._owned.pop(worker).items():
            self._unowned[query] = shard
        del self._waiting[worker]

    def add(self, items: Iterable[WorkItem]) -> None:
        """Items to be given out."""
        for item in items:
            owner = self._owner.get(item.query)
            if owner in self._owned:
                queue = self._owned[owner]
                self._waiting[owner] += 1
            else:
                queue = self._unowned
            queue.setdefault(item.query, deque()).append(item)
            self._total += 1

    def take(self, worker: int, size: int, *, whole: bool = False) -> list[WorkItem]:
        """Up to `size` items for this worker. There are none only if none are waiting.

        Whole shards where they fit. What is left of a larger one comes first in the worker's next batch. If `whole`, it
        is given out undivided all the same.
        """
        self._undivided = whole
        batch: list[WorkItem] = []
        for source in (worker, None):
            while len(batch) < size and self._take_shard(source, worker, size, batch, last=False):
                pass
        if batch or not self._total:
            return batch
        richest = max(self._waiting, key=self._waiting.__getitem__)
        size = min(size, math.ceil(self._waiting[richest] / 2))
        while len(batch) < size and self._take_shard(richest, worker, size, batch, last=True):
            pass
        return batch

    def _take_shard(self, source: int | None, worker: int, size: int, batch: list[WorkItem], *, last: bool) -> bool:
        """Move the first (or last) shard of a queue to the batch. Returns whether that was possible."""
        queue = self._unowned if source is None else self._owned[source]
        if not queue:
            return False
        query = next(reversed(queue) if last else iter(queue))
        shard = queue[query]
        if batch and len(batch) + len(shard) > size:
            return False
        taken = [shard.popleft() for _ in range(len(shard) if self._undivided else min(size, len(shard)))]
        del queue[query]
        if source is not None:
            self._waiting[source] -= len(taken) + len(shard)
        if shard:
            self._owned[worker][query] = shard
            self._owned[worker].move_to_end(query, last=False)
            self._waiting[worker] += len(shard)
        self._owner[query] = worker
        self._total -= len(taken)
        batch.extend(taken)
        return True

"""Which worker gets which work items. Pure bookkeeping: no Ray, no clock.

A shard is all waiting items of one query. It belongs to the worker that was first given items of this query, whose
caches hold its images and the beginnings of its prompts. Where that worker is gone or has too much to do, another one
of the same node takes the shard first, since its files have been read there.
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
    A worker that has nothing of its own, while nothing is without an owner, takes from the one that has most, of its
    own node if there is one. So a query is asked on one node, unless another one would have nothing to do.
    """

    def __init__(self) -> None:
        self._owner: dict[int, int] = {}  # of queries; a worker that has left owns nothing any more
        self._node: dict[int, str] = {}  # of workers, those that have left too
        self._unowned: dict[str, Queue] = {}  # by the node that had the query before; "" is none
        self._owned: dict[int, Queue] = {}
        self._waiting: dict[int, int] = {}
        self._total = 0
        self._undivided = False

    def __len__(self) -> int:
        """Waiting items."""
        return self._total

    def join(self, worker: int, node: str = "") -> None:
        """A worker on a node is ready for its first items. Numbers of workers are never used again."""
        self._node[worker] = node
        self._owned[worker] = OrderedDict()
        self._waiting[worker] = 0

    def leave(self, worker: int) -> None:
        """A worker is gone, and its caches with it: what waits for it is anybody's."""
        for query, shard in self._owned.pop(worker).items():
            self._without_owner(query)[query] = shard
        del self._waiting[worker]

    def add(self, items: Iterable[WorkItem]) -> None:
        """Items to be given out."""
        for item in items:
            owner = self._owner.get(item.query)
            if owner in self._owned:
                queue = self._owned[owner]
                self._waiting[owner] += 1
            else:
                queue = self._without_owner(item.query)
            queue.setdefault(item.query, deque()).append(item)
            self._total += 1

    def take(self, worker: int, size: int, *, whole: bool = False) -> list[WorkItem]:
        """Up to `size` items for this worker. There are none only if none are waiting.

        Whole shards where they fit. What is left of a larger one comes first in the worker's next batch. If `whole`, it
        is given out undivided all the same.
        """
        self._undivided = whole
        batch: list[WorkItem] = []
        own, node = self._owned[worker], self._node[worker]
        self._fill(batch, size, own, worker, of=worker)
        for home in dict.fromkeys((node, "")):
            self._fill(batch, size, self._unowned.get(home), worker)
        if batch or not self._total:
            return batch
        for queue in self._unowned.values():  # of nodes that have no worker for it now
            self._fill(batch, size, queue, worker)
        if batch:
            return batch
        beside = [other for other, waiting in self._waiting.items() if waiting and self._node[other] == node]
        richest = max(beside or self._waiting, key=self._waiting.__getitem__)
        size = min(size, math.ceil(self._waiting[richest] / 2))
        self._fill(batch, size, self._owned[richest], worker, of=richest, last=True)
        return batch

    def _without_owner(self, query: int) -> Queue:
        """Where a query waits whose owner is gone, or that never had one."""
        owner = self._owner.get(query)
        return self._unowned.setdefault("" if owner is None else self._node[owner], OrderedDict())

    def _fill(
        self,
        batch: list[WorkItem],
        size: int,
        queue: Queue | None,
        worker: int,
        *,
        of: int | None = None,
        last: bool = False,
    ) -> None:
        """Move the first (or last) shards of a queue, which is that of worker `of` or nobody's, to the batch."""
        while queue and len(batch) < size:
            query = next(reversed(queue) if last else iter(queue))
            shard = queue[query]
            if batch and len(batch) + len(shard) > size:
                return
            taken = [shard.popleft() for _ in range(len(shard) if self._undivided else min(size, len(shard)))]
            del queue[query]
            if of is not None:
                self._waiting[of] -= len(taken) + len(shard)
            if shard:
                self._owned[worker][query] = shard
                self._owned[worker].move_to_end(query, last=False)
                self._waiting[worker] += len(shard)
            self._owner[query] = worker
            self._total -= len(taken)
            batch.extend(taken)

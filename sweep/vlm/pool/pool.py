"""Work items in, results out, over any number of workers.

Every work item that is taken from the iterable yields exactly one result: an `Answer` or a `Failure`. None is lost and
none comes twice, whichever workers or nodes die on the way, unless the run as a whole ends with an error.

A worker that dies, raises or hangs is replaced by a fresh process, and its items are tried again.
`sweep.vlm.pool.dispatch` tells how the one that is to blame is found.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sized
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Generic, TypeVar

from sweep.errors import ClusterError
from sweep.settings.vlm import WorkerSettings
from sweep.vlm.pool.capacity import worker_count
from sweep.vlm.pool.dispatch import Dispatch, workers_for
from sweep.vlm.pool.nodes import Node, check_labels, living_nodes, usable_nodes
from sweep.vlm.pool.progress import Meter, PoolProgress
from sweep.vlm.pool.shards import Shards
from sweep.vlm.pool.worker import Answerer
from sweep.vlm.pool.workers import Ref, State, Workers
from sweep.vlm.work import Failure, WorkItem

Table = TypeVar("Table")
Given = TypeVar("Given")

logger = logging.getLogger(__name__)

PATIENCE = 300.0


class Pool(Generic[Table, Given]):
    """Workers that answer, each with a model of its own. Use as a context manager. The end kills them.

    Workers are started by the first work item, or ahead of it by `start`, and not at all if there is neither. They
    stay, with their caches, from one `run` to the next.
    """

    def __init__(
        self,
        factory: Callable[[], Answerer[Table, Given]],
        table: Table,
        settings: WorkerSettings,
        name: str,
        observer: Callable[[PoolProgress], None] | None = None,
        patience: float = PATIENCE,
        say: Callable[[str], None] = lambda line: None,
        left_out: Collection[str] = (),
    ) -> None:
        """Prepare a pool on the Ray that is connected. Nothing is started yet.

        Args:
            factory: builds the answerer, inside the worker's process.
            table: what the numbers in work items are about. Goes into Ray's object store, once.
            settings: of the workers.
            name: of the run, for Ray's dashboard.
            observer: told of progress after every batch.
            patience: seconds to wait for a first worker while others hold the cluster's resources.
            say: shows people a line, such as on a worker that cannot be started.
            left_out: ids of nodes that are of no use.
        """
        self._factory = factory
        self._table = table
        self._settings = settings
        self._name = name
        self._observer = observer
        self._patience = patience
        self._say = say
        self._left_out = left_out
        self._workers: Workers | None = None
        self._shards = Shards()
        self._running = False
        self._stopping = False
        self.most: int | None = None
        """Fewer workers than the settings allow, for a time."""

    def __enter__(self) -> Pool[Table, Given]:
        return self

    def __exit__(self, *error: object) -> None:
        if self._workers is not None:
            self._workers.kill(self._workers.alive())
            self._workers, self._shards = None, Shards()

    def start(self, items: int) -> None:
        """Start the workers that so many work items will need, and return at once. They load the model meanwhile.

        Those for which there is no room yet get their places as soon as others end.

        Raises:
            ClusterError: no worker fits the cluster, or Ray is gone.
        """
        with _unless_lost():
            workers = self._workers = self._workers or self._new_workers()
            count = min(workers_for(self._settings, items), workers.size)
            logger.info("workers of %s start ahead of the first prompt: %d", self._settings.holds, count)
            workers.start(count)

    def run(
        self, items: Iterable[WorkItem], score: bool = False
    ) -> Generator[tuple[WorkItem, Given | Failure], None, None]:
        """Results in any order, as they come.

        Memory does not depend on the number of items: `items` is read as results go out.
        Closing the iterator early stops the work.

        Args:
            items: equal ones are answered as often as they come. Those of one query are best side by side.
            score: whether answers shall have `gt_prob`.

        Raises:
            RunError: a model cannot be loaded or asked because of a mistake of the user's. The message is the worker's.
            ClusterError: no worker can be started, or Ray is gone.
        """
        source = iter(items)
        first = list(islice(source, 1))
        if not first:
            return
        total = len(items) if isinstance(items, Sized) else None
        with self._one_at_a_time(), _unless_lost():
            workers = self._workers = self._workers or self._new_workers()
            workers.await_places()
            meter = Meter(total)
            run: Dispatch[Given] = Dispatch(workers, self._shards, self._settings, chain(first, source), score, meter)
            for results in run.bundles():
                if self._stopping:
                    return
                if self._observer is not None and results:
                    self._observer(meter.now())
                yield from results

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if self._running:
            raise RuntimeError(f"pool {self._name} already runs: exhaust or close that iterator first")
        self._running, self._stopping = True, False
        try:
            yield
        finally:
            self._running = False
            self._drop_unfinished()

    def _drop_unfinished(self) -> None:
        """After an early end: what is still being worked on would be in the way of the next run."""
        if self._workers is None:
            return
        busy = [worker for worker in self._workers.alive() if worker.calls]
        self._workers.kill(busy)
        for worker in busy:
            if not worker.leaving:
                self._shards.leave(worker.number)
        if len(self._shards):
            self._shards = Shards()
            for worker in self._workers.alive(State.READY):
                if not worker.leaving:
                    self._shards.join(worker.number, worker.node)

    def stop(self) -> None:
        """Have the iterator of `run`, which another thread uses, end within seconds. What is in work is given up."""
        self._stopping = True

    @property
    def placed(self) -> list[str]:
        """For each worker that has a place, the id of its node."""
        workers = [] if self._workers is None else self._workers.alive()
        return [worker.node for worker in workers if worker.node]

    def _new_workers(self) -> Workers:
        import ray

        size = min(cluster_capacity(self._settings, self._left_out), self.most or sys.maxsize)
        table, factory, cpus = ray.put(self._table), self._factory, self._settings.cpus

        def load(actor: Any) -> Ref:  # noqa: ANN401 (Ray is untyped)
            return actor.load.remote(factory, table, cpus)

        return Workers(
            load,
            self._settings,
            self._name,
            size,
            self._patience,
            self._say,
            lambda: self.most,
            left_out=self._left_out,
        )


@contextmanager
def _unless_lost() -> Iterator[None]:
    """Raise ClusterError if Ray is gone."""
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, ConnectionError) as error:
        raise ClusterError(f"lost the Ray cluster: {(str(error).splitlines() or [repr(error)])[0]}") from error


def cluster_capacity(
    settings: WorkerSettings, left_out: Collection[str] = (), look: Callable[[], list[Node]] = living_nodes
) -> int:
    """Workers that the connected cluster takes without the nodes that are left out.

    Raises:
        ClusterError: not even one fits.
    """
    nodes = look()
    check_labels(nodes, settings.labels, f"{settings.section}.labels")
    return worker_count(settings, [node.resources for node in usable_nodes(nodes, settings.labels, left_out)])

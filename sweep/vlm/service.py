"""The model that answers: its pool of workers and the memory of what it said before, behind one call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any

from rich.console import Console

from sweep.items import ItemTable
from sweep.items.errors import ImageError
from sweep.settings.vlm import VlmSettings
from sweep.storage.path import StoredPath
from sweep.vlm.answers.cached import AnswerSet, ResultObserver, answer_all
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.engine.engine import Engine
from sweep.vlm.keys import answer_key, answer_settings, model_identity, pinned, score_key
from sweep.vlm.pool.pool import Pool
from sweep.vlm.pool.progress import PoolProgress, ProgressLine
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem

LOOK_AT = 1000
"""Work items that show whether workers will be needed."""


class AnswerService:
    """Has work items answered, each content once in all runs that share a folder. Use as a context manager.

    Workers are started, and the model is loaded, only when something is asked that nobody knows yet, or is about to be
    (`start_ahead`). They stay until the end. Needs a connected Ray from then on.
    """

    def __init__(
        self,
        settings: VlmSettings,
        table: ItemTable,
        answers: StoredPath,
        run: str,
        console: Console,
        watch: Callable[[PoolProgress], None] = lambda progress: None,
        left_out: Collection[str] = (),
    ) -> None:
        """Prepare answers of one model. Nothing is started yet.

        Args:
            settings: of the model.
            table: what the numbers in work items are about.
            answers: the folder where they are kept.
            run: name in Ray's dashboard.
            console: shows progress.
            watch: told of progress, too.
            left_out: ids of nodes that are of no use.

        Raises:
            UserError: the model's files cannot be found.
        """
        self._table = table
        self._store = AnswerStore(answers)
        self._run = run
        self._console = console
        self._watch = watch
        self._left_out = left_out
        self._pool: Pool[ItemTable, Answer] | None = None
        self._line: ProgressLine | None = None
        self._most: int | None = None
        self._device = settings.workers.device  # of the workers, not of this process
        self.identity = model_identity(settings.model)
        self._named = settings.model.path  # for people, as the space has it
        self._settings = settings.replace(model=pinned(settings.model, self.identity))

    @property
    def answer_settings(self) -> dict[str, Any]:
        """What can change an answer, for people: settings, the model's identity, and the kind of device."""
        return {**answer_settings(self.identity, self._settings), "device": self._device}

    def __enter__(self) -> AnswerService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. What is asked after that starts new ones."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None

    def start_ahead(self, items: Iterable[WorkItem], *, score: bool = False) -> None:
        """Start the workers if some of these items have no answer yet. Does not wait until the model is loaded.

        Does nothing where workers are up. Only the first items are looked at (`LOOK_AT`), since that takes time too.

        Args:
            items: some of those that will be asked.
            score: as they will be asked with.

        Raises:
            ClusterError: no worker fits the cluster.
        """
        if self._pool is not None:
            return
        wanted = {item: self._wanted(item, score=score) for item in islice(items, LOOK_AT)}
        readable = {item: one for item, one in wanted.items() if isinstance(one, Wanted)}
        lacking = len(readable) - len(self._store.lookup(readable))
        if lacking:
            self._opened().start(lacking)

    def answer_all(
        self,
        items: Iterable[WorkItem],
        what: str,
        *,
        score: bool = False,
        failure_limit: float = 1.0,
        observer: ResultObserver | None = None,
        all_may_fail: bool = False,
        shown: bool = True,
    ) -> AnswerSet:
        """Results of all items.

        Args:
            items: may repeat.
            what: is being done, in a word, for the progress line.
            score: whether answers shall have `gt_prob`.
            failure_limit: share of items without an answer above which this stops.
            observer: told of every result as it comes.
            all_may_fail: whether these are few of many, so that it is no error if none of them is answered.
            shown: whether people see the progress.

        Raises:
            EvaluationError: too many items have no answer.
            RunError: the model cannot be loaded, or no worker can be had.
        """
        return answer_all(
            items,
            wants=partial(self._wanted, score=score),
            store=self._store,
            run=partial(self._dispatch, what, shown=shown),
            score=score,
            model=self._named,
            failure_limit=failure_limit,
            observer=observer,
            all_may_fail=all_may_fail,
        )

    def _wanted(self, item: WorkItem, *, score: bool) -> Wanted | Failure:
        try:
            key = answer_key(self.identity, self._settings, self._table, item, self._device)
        except ImageError as error:
            return Failure(FailureKind.MISSING, error.reason, error.label)
        return Wanted(key, score_key(self._table, item) if score else None)

    def _dispatch(
        self, what: str, items: Sequence[WorkItem], score: bool, *, shown: bool
    ) -> Generator[tuple[WorkItem, Result], None, None]:
        with ProgressLine(self._console, what) if shown else nullcontext() as self._line:
            yield from self._opened().run(items, score)

    def _opened(self) -> Pool[ItemTable, Answer]:
        if self._pool is None:
            factory = partial(_engine, self._settings, self._device)
            self._pool = Pool(
                factory,
                self._table,
                self._settings.workers,
                self._run,
                self._show,
                say=self._say,
                left_out=self._left_out,
            )
            self._pool.most = self._most
            self._pool.__enter__()
        return self._pool

    def limit_workers(self, most: int | None) -> None:
        """At most so many workers from now on. None: as the settings say. Those that work go on."""
        self._most = most
        if self._pool is not None:
            self._pool.most = most

    def stop(self) -> None:
        """Have a call in another thread return within seconds, with the results that there are by then."""
        if self._pool is not None:
            self._pool.stop()

    @property
    def placed(self) -> Sequence[str]:
        """For each worker that has a place on the cluster, the id of its node."""
        return [] if self._pool is None else self._pool.placed

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self, progress: PoolProgress) -> None:
        if self._line is not None:  # else nobody is to see it
            self._watch(progress)
            self._line(progress)


def _engine(settings: VlmSettings, device: str) -> Engine:
    """Runs in a worker's process."""
    return Engine(settings, device)

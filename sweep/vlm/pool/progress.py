"""How far the pool is: measured here, shown as one live line on a terminal and as lines now and then anywhere else."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rich.console import Console
from rich.text import Text

from sweep.terminal.live import HEARTBEAT_SECONDS, duration, live_view
from sweep.terminal.waiting import Waiting

RATE_SECONDS = 60.0
SAMPLE_SECONDS = 0.5
STARTING = "starting workers, each of which loads the model"


@dataclass(frozen=True, slots=True)
class PoolProgress:
    """A moment of a pool's run.

    Attributes:
        done: work items with a result, failures included.
        total: all that there will be, where that is known.
        failed: those of `done` without an answer.
        rate: work items per second over the last minute. It is 0 where nothing is done yet.
        seconds_left: at that rate, where `total` is known.
        by_worker: results per worker, by the name it has in Ray's dashboard.
    """

    done: int
    total: int | None
    failed: int
    rate: float
    seconds_left: float | None
    by_worker: Mapping[str, int]


class Meter:
    """Counts results. `total` is None where nobody knows."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._done = self._failed = 0
        self._by_worker: dict[str, int] = {}
        self._samples: deque[tuple[float, int]] = deque()

    def begin(self) -> None:
        """Work is handed out: starting workers and loading models is no part of the rate."""
        if not self._samples:
            self._samples.append((time.monotonic(), 0))

    def count(self, done: int, failed: int, worker: str | None) -> None:
        """Some results, of this worker if one gave them."""
        self._done += done
        self._failed += failed
        if worker is not None:
            self._by_worker[worker] = self._by_worker.get(worker, 0) + done
        now = time.monotonic()
        if len(self._samples) < 2 or now - self._samples[-2][0] >= SAMPLE_SECONDS:
            self._samples.append((now, self._done))
        else:
            self._samples[-1] = (now, self._done)
        while len(self._samples) > 2 and now - self._samples[1][0] > RATE_SECONDS:
            self._samples.popleft()

    def now(self) -> PoolProgress:
        """The moment."""
        rate = 0.0
        if self._samples:
            (begun, before), (latest, done) = self._samples[0], self._samples[-1]
            rate = (done - before) / (latest - begun) if latest > begun else 0.0
        left = (self._total - self._done) / rate if self._total is not None and rate else None
        workers = MappingProxyType(dict(self._by_worker))
        return PoolProgress(self._done, self._total, self._failed, rate, left, workers)


class ProgressLine:
    """An observer of a pool that prints. Use as a context manager around the run."""

    def __init__(self, console: Console, what: str, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        """Show progress of `what`, a word or two. Off a terminal `heartbeat` seconds lie between two lines."""
        self._console = console
        self._what = what
        self._heartbeat = heartbeat
        self._said = self._begun = time.monotonic()
        self._latest: PoolProgress | None = None
        self._live = live_view(console, self._line)
        self._start = Waiting(self._say, f"{what}: {STARTING}", at_once=False)

    def __enter__(self) -> ProgressLine:
        self._live.__enter__()
        if not self._console.is_terminal:
            self._start.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._start.end()
        self._live.__exit__(None, None, None)
        if self._latest is not None:
            self._print()

    def __call__(self, progress: PoolProgress) -> None:
        """Called by the pool after every batch."""
        self._latest = progress
        self._start.end()
        if not self._console.is_terminal and time.monotonic() - self._said >= self._heartbeat:
            self._print()

    def _print(self) -> None:
        self._said = time.monotonic()
        self._console.print(self._line(), highlight=False, soft_wrap=True)

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _line(self) -> Text:
        clock = f"[{duration(time.monotonic() - self._begun)}] {self._what}  "
        if self._latest is None:
            return Text(f"{clock}{STARTING}", no_wrap=True, overflow="ellipsis")
        return Text(clock + describe(self._latest), no_wrap=True, overflow="ellipsis")


def describe(progress: PoolProgress) -> str:
    """On one line: `640/1200 done (53 %)  12.3/s  0:00:45 left  2 failed  2 workers`."""
    total = progress.total
    parts = [
        f"{progress.done} done" if total is None else f"{progress.done}/{total} done",
        f"({100 * progress.done // total} %)" if total else "",
        f" {progress.rate:.3g}/s" if progress.rate < 100 else f" {progress.rate:.0f}/s",
        f" {duration(progress.seconds_left)} left" if progress.seconds_left and progress.done != total else "",
        f" {progress.failed} failed" if progress.failed else "",
        f" {len(progress.by_worker)} worker{'s' if len(progress.by_worker) != 1 else ''}",
    ]
    return " ".join(filter(None, parts))

"""Has services follow a run without being able to hurt it.

Invariants:
- A service is called by a thread of its own, in the order of the events. The run never waits for it: events wait in a
  queue of `ROOM`, and the end of the run waits for `SECONDS` at most.
- The first thing that goes wrong is one line, and the service gets nothing more. The run goes on as without it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from selector.errors import first_line
from sweep.execution.events import TrialEnded, TrialObserver, TrialStarted
from sweep.trials.messages import EpochResult

logger = logging.getLogger(__name__)

ROOM = 20_000
SECONDS = 60.0


@dataclass(frozen=True)
class Followed:
    """The run, as services are told of it.

    Attributes:
        name: the run's. Its trials are grouped under it.
        identity: of this run alone, and the same after a resume.
        folder: where it is kept, for people.
        settings: its space as JSON values, without what may be secret.
        scratch: where a service may keep files of its own. None where the run is kept elsewhere.
    """

    name: str
    identity: str
    folder: str
    settings: dict[str, Any]
    scratch: Path | None


@dataclass(frozen=True)
class Ending:
    """How the run ended.

    Attributes:
        state: finished, failed or interrupted.
        verdict: in a sentence. Empty without one.
        files: tables and the report, by the name that they get.
    """

    state: str
    verdict: str = ""
    files: dict[str, Path] = field(default_factory=dict)


class Service(Protocol):
    """One service. All calls come from one thread, and may raise anything."""

    name: str

    def begin(self, run: Followed) -> None:
        """The run begins, or goes on."""

    def started(self, event: TrialStarted) -> None:
        """A trial begins, or goes on."""

    def epoch(self, result: EpochResult) -> None:
        """A trial finished an epoch."""

    def ended(self, event: TrialEnded) -> None:
        """A trial is over."""

    def end(self, ending: Ending) -> None:
        """The run is over. Trials that have not ended may be continued later."""


class Follower:
    """An observer of trials that hands everything to one service."""

    def __init__(self, service: Service, say: Callable[[str], None], room: int = ROOM) -> None:
        """`say` shows people a line, from any thread."""
        self._service = service
        self._say = say
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(room)
        self._is_off = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"logger {service.name}", daemon=True)
        self._thread.start()

    def begin(self, run: Followed) -> None:
        """Before the first trial."""
        self._put(lambda: self._service.begin(run))

    def started(self, event: TrialStarted) -> None:
        """A trial begins."""
        self._put(lambda: self._service.started(event))

    def epoch(self, result: EpochResult) -> None:
        """An epoch is done."""
        self._put(lambda: self._service.epoch(result))

    def ended(self, event: TrialEnded) -> None:
        """A trial is over."""
        self._put(lambda: self._service.ended(event))

    def end(self, ending: Ending, seconds: float = SECONDS) -> None:
        """The run is over: wait until the service has everything, but not for ever."""
        self._put(lambda: self._service.end(ending))
        self._put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._switch_off(f"has not taken everything within {seconds:.0f} seconds, and the rest is lost")

    def _put(self, call: Callable[[], None] | None) -> None:
        if self._is_off:
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._switch_off(f"is too slow: {self._calls.maxsize:,} events wait. It gets nothing more")

    def _work(self) -> None:
        while (call := self._calls.get()) is not None and not self._is_off:
            try:
                call()
            except Exception as error:  # whatever the service's library raises
                logger.warning("%s failed", self._service.name, exc_info=True)
                self._switch_off(f"failed and gets nothing more: {first_line(error)[:200] or type(error).__name__}")

    def _switch_off(self, why: str) -> None:
        with self._lock:  # of the run's thread and the service's, one says it
            if self._is_off:
                return
            self._is_off = True
        self._say(f"{self._service.name} {why} (the run itself is not affected)")


class Loggers:
    """The services of one run."""

    def __init__(self, services: Sequence[Service] = (), say: Callable[[str], None] = lambda line: None) -> None:
        """`say` may be replaced while the run has a screen of its own."""
        self.say = say
        self._services = services
        self._followers: list[Follower] = []

    def follow(self, run: Followed) -> Sequence[TrialObserver]:
        """Begin. The observers are told of every trial."""
        if not self._followers:
            self._followers = [Follower(one, lambda line: self.say(line)) for one in self._services]
            for one in self._followers:
                one.begin(run)
        return self._followers

    def end(self, ending: Ending) -> None:
        """The run is over. A second call does nothing."""
        followers, self._followers = self._followers, []
        for one in followers:
            one.end(ending)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A run that ended otherwise than by `end` was interrupted, or failed."""
        self.end(Ending("interrupted" if error is None or isinstance(error, KeyboardInterrupt) else "failed"))

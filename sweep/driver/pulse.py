"""A driver's sign of life: says every few seconds what it does, and hears whether it shall stop.

Invariants:
- What it writes is of use to who looks and of none to the run: if it cannot be written, the log says so, once.
- It never makes the run's folder. If somebody removed that, it writes nothing.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self
from uuid import uuid4

from pydantic import ValidationError

from selector.errors import UserError, first_line
from selector.settings import FrozenModel
from sweep.runs.driver import DriverProcess, DriverRecord, End, Phase, Spent, read_driver
from sweep.runs.paths import RunPaths
from sweep.storage.outage import describe_os_error
from sweep.storage.processes import this_process
from sweep.vlm.pool.progress import PoolProgress

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
REMOTE_BEAT_SECONDS = 15.0
LOOK_SECONDS = 1.0
REMOTE_LOOK_SECONDS = 5.0
SURE_UNITS, SURE_SECONDS = 3, 3.0
"""A pace is known from so many units, and so many seconds, on."""
MOST = 10**11
"""What an earlier driver wrote counts on. A file that somebody altered must not stop this one."""


class StopRequest(FrozenModel):
    """What `stop.json` holds: the driver that is meant, and whether it shall not wait for the running epochs."""

    token: str
    now: bool


class Pulse:
    """Use as a context manager as long as the driver lives. Calls may come from any thread."""

    def __init__(self, paths: RunPaths, beat: float | None = None) -> None:
        """Prepare. `beat` is in seconds; None: what suits the storage."""
        self._paths = paths
        now = time.time()
        before = read_driver(paths)
        self._record = DriverRecord(
            token=uuid4().hex,
            process=DriverProcess.model_validate(this_process()),
            began=now,
            updated=now,
            phase_began=now,
            beat=beat or (REMOTE_BEAT_SECONDS if paths.root.is_remote else BEAT_SECONDS),
            spent=() if before is None else before.spent,
        )
        self._phase_since = time.monotonic()  # the clock of the day may be set meanwhile
        self._lock = threading.RLock()  # never held while something is written, which may take long
        self._woken = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._live, name="pulse", daemon=True)
        self._first: tuple[float, int] | None = None
        self._counted = 0
        self._answers_before = self._answers_now = 0
        self._answers_total: int | None = None
        self._is_failing = False
        self._end = End.FINISHED
        self._stopping = False
        self.stop_now = False
        """Whether somebody asked to stop at once, without waiting for the running epochs."""
        self.why = ""
        """Why the driver was interrupted."""
        self.on_first_phase: Callable[[], None] = lambda: None
        """Called when the driver is past its start: its checks passed, and Ray is up where it is needed."""

    # What the driver says --------------------------------------------------------------------------------------------

    def phase(self, phase: Phase, unit: str = "", total: int | None = None, epochs: int | None = None) -> None:
        """The driver turns to something else, of which it will do so many units."""
        with self._lock:
            started = self._record.phase is Phase.STARTING and phase is not Phase.STARTING
            self._spend(seconds=self._since())
            self._first, self._counted = None, 0
            self._answers_before, self._answers_now, self._answers_total = 0, 0, None
            self._record = self._record.replace(
                phase=phase, phase_began=time.time(), done=0, total=total, unit=unit, pace=None, epochs=epochs
            )
        self._woken.set()
        if started:
            self.on_first_phase()

    def _since(self) -> float:
        """Seconds since this was asked last, or since the start."""
        before, self._phase_since = self._phase_since, time.monotonic()
        return self._phase_since - before

    def prompts(self, answered: int, reused: int) -> None:
        """So many prompts were answered in this phase, and so many were known before."""
        with self._lock:
            self._spend(answered=answered, reused=reused)

    def _spend(self, seconds: float = 0.0, answered: int = 0, reused: int = 0) -> None:
        """Add to what the phase that goes on has cost. The lock is held."""
        phase = self._record.phase
        spent = {one.phase: one for one in self._record.spent}
        had = spent.get(phase, Spent(phase=phase))
        spent[phase] = Spent(
            phase=phase,
            seconds=min(had.seconds + seconds, MOST),
            answered=min(had.answered + answered, MOST),
            reused=min(had.reused + reused, MOST),
        )
        self._record = self._record.replace(spent=tuple(spent.values()))

    def progress(self, done: int, total: int | None = None) -> None:
        """So many units are done. Stored with the next beat."""
        with self._lock:
            self._record = self._record.replace(done=done, total=self._record.total if total is None else total)

    def count(self, counted: int) -> None:
        """So many of what the pace is measured by: epochs in training, otherwise units."""
        now = time.monotonic()
        with self._lock:
            if self._first is None:
                self._first = now, counted  # what came before is the start of workers, or of a model
            seconds, units = now - self._first[0], counted - self._first[1]
            if units >= SURE_UNITS and seconds >= SURE_SECONDS:
                self._record = self._record.replace(pace=max(units / seconds, 1e-6))

    def count_epoch(self) -> None:
        """One more epoch of any trial is done."""
        with self._lock:
            self._counted += 1
            self.count(self._counted)

    def answers(self, progress: PoolProgress) -> None:
        """The model answered. It may be asked in several rounds, each of which is counted from 0."""
        with self._lock:
            if progress.done < self._answers_now or progress.total != self._answers_total:
                self._answers_before += self._answers_now
            self._answers_now, self._answers_total = progress.done, progress.total
            done = self._answers_before + progress.done
            self.progress(done, None if progress.total is None else self._answers_before + progress.total)
            self.count(done)

    def ends_as(self, end: End) -> None:
        """How it will have ended, if nothing goes wrong from now on."""
        self._end = end

    # Its life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._tidy()
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._woken.set()
        self._thread.join()
        end = self._end if error is None else End.INTERRUPTED if isinstance(error, KeyboardInterrupt) else End.FAILED
        reason = self.why if end is End.INTERRUPTED else ""
        if end is End.FAILED:
            reason = first_line(error) if isinstance(error, UserError | OSError) else type(error).__name__
        with self._lock:
            self._spend(seconds=self._since())
            self._record = self._record.replace(end=end, reason=reason)
        if not (self._is_failing and self._paths.root.is_remote):  # where one more failure may take minutes
            self._write()
        self._tidy()

    def _live(self) -> None:
        look = min(REMOTE_LOOK_SECONDS if self._paths.root.is_remote else LOOK_SECONDS, self._record.beat)
        written = time.monotonic()
        while not self._ended:
            new_phase = self._woken.wait(look)
            self._woken.clear()
            if self._ended:
                return
            self._hear()
            if new_phase or time.monotonic() - written >= self._record.beat:
                written = time.monotonic()
                self._write()

    def _write(self) -> None:
        with self._lock:
            self._record = self._record.replace(updated=time.time(), beats=self._record.beats + 1)
            text = self._record.model_dump_json(indent=2) + "\n"
        try:
            if self._paths.root.is_remote or self._paths.root.exists():
                self._paths.driver_file.write_text(text)
        except OSError as error:
            if not self._is_failing:
                logger.warning("cannot say that this driver lives: %s (said once)", describe_os_error(error))
            self._is_failing = True
        else:
            self._is_failing = False

    def _hear(self) -> None:
        """End, as Ctrl-C would have it, if somebody asked for that."""
        try:
            request = StopRequest.model_validate_json(self._paths.stop_file.read_bytes())
        except (OSError, ValidationError):  # as a rule there is none
            return
        if request.token != self._record.token or (self._stopping and (self.stop_now or not request.now)):
            return
        self._stopping, self.stop_now = True, request.now
        logger.warning("asked to stop%s by %s", " at once" if request.now else "", self._paths.stop_file)
        self.why = f"stopped by `sweep stop{' --now' if request.now else ''}`"
        # Not SIGINT: a shell's background job ignores that. The thread is named so that its waiting ends.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _tidy(self) -> None:
        """Remove requests that nobody hears any more, and what killed drivers left half-written."""
        try:
            self._paths.stop_file.remove()
            for file in self._paths.root.glob(f".{self._paths.driver_file.name}.*"):
                file.remove()
        except OSError as error:
            logger.warning("cannot tidy up after an earlier driver: %s", error)

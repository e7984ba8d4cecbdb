"""`driver.json`: what the driver of a run does, as it said last, and whether it lives.

A driver writes the file every few seconds. On this machine its lock and its process tell whether it lives. For another
machine the file does: by its time, and where the clocks disagree or the time is old, by whether it still changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from selector.settings import FrozenModel
from sweep.runs.paths import RunPaths
from sweep.storage.local import is_locked
from sweep.storage.outage import is_outage
from sweep.storage.processes import is_dead_here, is_here, is_same_machine

SKEW_SECONDS = 5.0
"""Clocks of machines that are set by the network differ by less."""
PATIENT_BEATS = 6
"""So many beats may be missing on a busy machine before we look whether the driver lives."""


class Phase(StrEnum):
    """What a driver is busy with."""

    STARTING = "starting"
    COLLECTING = "collecting"
    TRAINING = "training"
    FINALISTS = "training finalists"
    EVALUATING = "evaluating"
    RANKING = "ranking"


class End(StrEnum):
    """How a driver ended."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class DriverRecord(FrozenModel):
    """What a driver says of itself. Times are seconds since the epoch, by its machine's clock.

    Attributes:
        token: of this driver alone, so that a request to stop is not meant for a later one.
        process: host, number and start of the process (`sweep.storage.processes`).
        beat: seconds between two writings; `beats` counts them.
        done: units of the phase that are done: trials, or answers of the model.
        total: all units, where that is known.
        pace: units per second so far in this phase, in training epochs per second. None while too little is known.
        epochs: the most that a trial can have.
        end: None while it lives.
        reason: why it was interrupted or failed.
    """

    format: Literal["sweep-driver/1"] = "sweep-driver/1"
    token: str
    process: dict[str, str | int | None]
    began: float
    updated: float
    beat: Annotated[float, Field(gt=0, le=3600)]
    beats: int = 0
    phase: Phase = Phase.STARTING
    phase_began: float
    done: int = 0
    total: int | None = None
    unit: str = ""
    pace: float | None = None
    epochs: int | None = None
    end: End | None = None
    reason: str = ""

    @property
    def host(self) -> str:
        """The machine it runs on."""
        return str(self.process.get("host"))

    @property
    def pid(self) -> int:
        """Number of the process on that machine."""
        return int(self.process.get("pid") or 0)


@dataclass(frozen=True)
class DriverState:
    """Whether a run has a driver now.

    Attributes:
        alive: a driver holds the run.
        here: it is a process of this machine.
        record: what it said last; of a dead run, what its last driver said. None where none has said anything.
        age: seconds since then, by this machine's clock. None if that is not known.
    """

    alive: bool
    here: bool = False
    record: DriverRecord | None = None
    age: float | None = None


def read_driver(paths: RunPaths) -> DriverRecord | None:
    """What the last driver said. None if there is nothing, or nothing that can be read."""
    try:
        return DriverRecord.model_validate_json(paths.driver_file.read_bytes())
    except ValidationError:
        return None
    except OSError as error:
        if is_outage(error):
            raise
        return None


def driver_state(
    paths: RunPaths,
    looking: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> DriverState:
    """Look whether a run has a driver. Writes nothing.

    Args:
        paths: the run's.
        looking: told, before it takes longer than a moment.
        clock: seconds since the epoch.
        sleep: waits.
    """
    record = read_driver(paths)
    held = None if paths.root.is_remote else is_locked(paths.lock_file.local())
    if record is None or record.end is not None:
        # One that has just taken the lock has said nothing yet; what stands there is its predecessor's.
        return DriverState(True, here=True) if held is True else DriverState(False, False, record, _age(record, clock))
    here = is_here(record.process)
    if held is True or (held is None and here and not is_dead_here(record.process)):
        return DriverState(True, here, record, _age(record, clock))
    if here or (held is False and is_same_machine(record.process)):
        return DriverState(paths.root.is_remote and not is_dead_here(record.process), here, record, _age(record, clock))
    age = clock() - record.updated
    if -SKEW_SECONDS <= age <= PATIENT_BEATS * record.beat:
        return DriverState(True, False, record, max(0.0, age))
    return _watched(paths, record, looking, clock, sleep)


def _watched(
    paths: RunPaths,
    record: DriverRecord,
    looking: Callable[[str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> DriverState:
    """A driver of another machine lives if the file still changes, whatever its clock says."""
    seconds = 2 * record.beat + 2
    looking(f"looking for {seconds:.0f} seconds whether the driver on {record.host} lives ...")
    waited = 0.0
    while waited < seconds:
        sleep(1.0)
        waited += 1.0
        now = read_driver(paths)
        if now is not None and (now.token, now.beats) != (record.token, record.beats):
            return DriverState(now.end is None, False, now, 0.0)
    return DriverState(False, False, record, _age(record, clock))


def _age(record: DriverRecord | None, clock: Callable[[], float]) -> float | None:
    if record is None:
        return None
    age = clock() - record.updated
    return max(0.0, age) if age >= -SKEW_SECONDS else None

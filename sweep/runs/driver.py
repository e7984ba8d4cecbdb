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


Moment = Annotated[float, Field(ge=0, le=1e11)]
Count = Annotated[int, Field(ge=0, le=10**12)]


class Phase(StrEnum):
    """What a driver is busy with."""

    STARTING = "starting"
    EMBEDDING = "embedding"
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


class DriverProcess(FrozenModel):
    """A process, as `sweep.storage.processes` tells it from others."""

    host: str
    pid: Annotated[int, Field(gt=0, lt=2**31)]
    pids: str | None
    boot: str | None
    started: str | None


class Spent(FrozenModel):
    """What a phase has cost, over all drivers of a run.

    Attributes:
        answered: prompts that the model answered.
        reused: prompts whose answers were known before.
    """

    phase: Phase
    seconds: Annotated[float, Field(ge=0, le=1e11)] = 0.0
    answered: Count = 0
    reused: Count = 0


class DriverRecord(FrozenModel):
    """What a driver says of itself. Times are seconds since the epoch, by its machine's clock.

    Attributes:
        token: of this driver alone, so that a request to stop is not meant for a later one.
        process: that it is.
        beat: seconds between two writings; `beats` counts them.
        done: units of the phase that are done: trials, or answers of the model.
        total: all units, where that is known.
        pace: units per second so far in this phase, in training epochs per second. None while too little is known.
        epochs: the most that a trial can have.
        end: None while it lives.
        reason: why it was interrupted or failed.
        spent: by phase, what this driver and those before it have spent. The phase that goes on is not in it yet.
    """

    format: Literal["sweep-driver/1"] = "sweep-driver/1"
    token: str
    process: DriverProcess
    began: Moment
    updated: Moment
    beat: Annotated[float, Field(gt=0, le=3600)]
    beats: Count = 0
    phase: Phase = Phase.STARTING
    phase_began: Moment
    done: Count = 0
    total: Count | None = None
    unit: str = ""
    pace: Annotated[float, Field(gt=1e-9, le=1e9)] | None = None
    epochs: Count | None = None
    end: End | None = None
    reason: str = ""
    spent: tuple[Spent, ...] = ()

    @property
    def host(self) -> str:
        """The machine it runs on."""
        return self.process.host

    @property
    def pid(self) -> int:
        """Number of the process on that machine."""
        return self.process.pid


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
    process = record.process.model_dump()
    here, age = is_here(process), _age(record, clock)
    if held is True or (held is None and here):
        return DriverState(held is True or not is_dead_here(process), here, record, age)
    if here or (held is False and is_same_machine(process)):
        return DriverState(False, here, record, age)
    if age is not None and age <= PATIENT_BEATS * record.beat:
        return DriverState(True, False, record, age)
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

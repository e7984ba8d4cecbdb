"""Services that fail or are slow, and what the run notices of that."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.loggers.follow import Ending, Followed, Follower, Loggers
from sweep.trials.messages import EpochResult
from tests.sweep.execution.test_coordinator import result

RUN = Followed("mine", "0123", "runs/mine", {}, Path())


class Recorder:
    """Remembers what it is told, fails at a given call, or waits until it is let go."""

    name = "Recorder"

    def __init__(self, fails_at: str = "", waits: bool = False) -> None:
        self.calls: list[str] = []
        self.fails_at = fails_at
        self.free = threading.Event()
        if not waits:
            self.free.set()

    def _call(self, what: str) -> None:
        self.free.wait(30)
        self.calls.append(what)
        if what == self.fails_at:
            raise ValueError("no room\n  in the cloud")

    def begin(self, run: Followed) -> None:
        self._call("begin")

    def started(self, event: TrialStarted) -> None:
        self._call(f"started {event.number}")

    def epoch(self, result: EpochResult) -> None:
        self._call(f"epoch {result.report.step}")

    def ended(self, event: TrialEnded) -> None:
        self._call("ended")

    def end(self, ending: Ending) -> None:
        self._call(ending.state)


def follow(service: Recorder, epochs: int = 3) -> list[str]:
    """The lines that people see of a run of one trial."""
    lines: list[str] = []
    with Loggers([service], lines.append) as loggers:
        (observer,) = loggers.follow(RUN)
        assert loggers.follow(RUN) == [observer], "Ray that is started again begins no second time"
        observer.started(TrialStarted(0, {}, False, {}))
        for step in range(1, epochs + 1):
            observer.epoch(result(0, step, 2.5))
        loggers.end(Ending("finished"))
    return lines


def test_a_service_hears_everything_in_order() -> None:
    service = Recorder()
    assert follow(service) == []
    assert service.calls == ["begin", "started 0", "epoch 1", "epoch 2", "epoch 3", "finished"]


def test_a_failure_is_one_line_and_the_last_call() -> None:
    for fails_at, calls in (("begin", 1), ("epoch 2", 4), ("finished", 6)):
        service = Recorder(fails_at)
        assert follow(service) == ["Recorder failed and gets nothing more: no room (the run itself is not affected)"]
        assert len(service.calls) == calls


def test_one_that_fails_leaves_the_others() -> None:
    bad, good, lines = Recorder("begin"), Recorder(), []
    with Loggers([bad, good], lines.append) as loggers:
        for observer in loggers.follow(RUN):
            observer.epoch(result(0, 1, 2.5))
        loggers.end(Ending("finished"))
    assert good.calls == ["begin", "epoch 1", "finished"] and len(lines) == 1


def test_a_slow_service_costs_the_run_no_time() -> None:
    service, lines = Recorder(waits=True), []
    follower = Follower(service, lines.append, room=10)
    begun = time.monotonic()
    for step in range(1, 1000):
        follower.epoch(result(0, step, 2.5))
    assert lines == ["Recorder is too slow: 10 events wait. It gets nothing more (the run itself is not affected)"]
    follower.end(Ending("finished"), seconds=0.05)
    assert time.monotonic() - begun < 5 and len(lines) == 1
    service.free.set()


def test_the_end_is_not_awaited_for_ever() -> None:
    service, lines = Recorder(waits=True), []
    follower = Follower(service, lines.append)
    follower.begin(RUN)
    follower.end(Ending("finished"), seconds=0.05)
    assert lines == [
        "Recorder has not taken everything within 0 seconds, and the rest is lost (the run itself is not affected)"
    ]
    service.free.set()


def test_a_run_that_breaks_off_is_said_as_such() -> None:
    for error, state in ((KeyboardInterrupt(), "interrupted"), (ValueError(), "failed"), (None, "interrupted")):
        service = Recorder()
        try:
            with Loggers([service]) as loggers:
                loggers.follow(RUN)
                if error is not None:
                    raise error
        except BaseException as raised:
            assert raised is error
        assert service.calls == ["begin", state]

import io
import time

import pytest

from sweep.terminal.console import Screen
from sweep.vlm.pool import progress
from sweep.vlm.pool.progress import Meter, PoolProgress, ProgressLine, describe


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is told: `clock[0] = seconds`."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_rate_is_that_of_the_last_minute_and_starts_with_the_work(clock) -> None:
    meter = Meter(10_000)
    assert meter.now() == PoolProgress(0, 10_000, 0, 0.0, None, {})
    clock[0] += 50  # loading the model
    meter.begin()
    for _ in range(10):
        clock[0] += 1
        meter.count(5, 1, "a")
    assert meter.now() == PoolProgress(50, 10_000, 10, 5.0, 1990.0, {"a": 50})
    for _ in range(100):
        clock[0] += 1
        meter.count(20, 0, "b")
    moment = meter.now()
    assert moment.rate == pytest.approx(20)
    assert moment.by_worker == {"a": 50, "b": 2000}
    meter.count(1, 1, None)
    assert meter.now().failed == 11


def test_many_small_batches_do_not_make_many_samples(clock) -> None:
    meter = Meter(None)
    meter.begin()
    for _ in range(100_000):
        clock[0] += 0.01
        meter.count(1, 0, "a")
    assert len(meter._samples) < 200
    assert meter.now().rate == pytest.approx(100, rel=0.02)
    assert meter.now().seconds_left is None


@pytest.mark.parametrize(
    ("moment", "line"),
    [
        (
            PoolProgress(640, 1200, 2, 12.34, 45.4, {"a": 320, "b": 320}),
            "640/1200 done (53 %)  12.3/s  0:00:45 left  2 failed  2 workers",
        ),
        (PoolProgress(1200, 1200, 0, 1234.5, 0.0, {"a": 1200}), "1200/1200 done (100 %)  1234/s  1 worker"),
        (PoolProgress(3, None, 0, 0.0, None, {}), "3 done  0/s  0 workers"),
    ],
)
def test_one_line_says_all(moment, line) -> None:
    assert describe(moment) == line


def test_off_a_terminal_a_line_now_and_then_and_one_at_the_end(clock) -> None:
    out = io.StringIO()
    with ProgressLine(Screen(file=out, width=40), "answers") as line:
        for done in range(1, 41):
            clock[0] += 1
            line(PoolProgress(done, 40, 0, 1.0, 40.0 - done, {"a": done}))
    said = out.getvalue().splitlines()
    assert said == [
        "[0:00:15] answers  15/40 done (37 %)  1/s  0:00:25 left  1 worker",
        "[0:00:30] answers  30/40 done (75 %)  1/s  0:00:10 left  1 worker",
        "[0:00:40] answers  40/40 done (100 %)  1/s  1 worker",
    ]


def test_nothing_to_do_says_nothing() -> None:
    out = io.StringIO()
    with ProgressLine(Screen(file=out), "answers"):
        pass
    assert out.getvalue() == ""


def test_on_a_terminal_the_line_lives_and_the_last_one_stays() -> None:
    out = io.StringIO()
    with ProgressLine(Screen(file=out, force_terminal=True, width=100), "answers") as line:
        deadline = time.monotonic() + 20
        while "starting workers" not in out.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        line(PoolProgress(10, 40, 0, 1.0, 30.0, {"a": 10}))
        line(PoolProgress(40, 40, 0, 1.0, 0.0, {"a": 40}))
    assert out.getvalue().splitlines()[-1].endswith("40/40 done (100 %)  1/s  1 worker")

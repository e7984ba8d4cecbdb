"""The pool on a real Ray, with workers that come and go, and processes that really die."""

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import pytest

from sweep.errors import ClusterError, RunError
from sweep.settings.vlm import WorkerSettings
from sweep.vlm.pool.pool import Pool
from sweep.vlm.work import Failure, FailureKind, WorkItem
from tests.sweep.vlm.pool.answerers import (
    Factory,
    Refusing,
    Table,
    calls,
    items_of,
    lines,
    name,
    right,
)
from tests.sweep.vlm.pool.sizes import ONE, SMALL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_idle_worker_takes_over_what_another_owns(notes) -> None:
    """One item at a time needs one worker, which so owns all queries; then there is enough to do for two."""
    queries = 20
    with Pool(Factory(notes, seconds=0.03), Table(), SMALL.model_copy(update={"batch": 4}), "run") as pool:
        for query in range(queries):
            assert list(pool.run([WorkItem(query)])) == [(WorkItem(query), right(WorkItem(query)))]
        (owner,) = calls(notes, "loaded")
        noted = len(lines(notes))

        def until_the_second_is_there() -> Iterator[WorkItem]:
            left = 8
            for shot in count():
                yield from (WorkItem(query, (shot,)) for query in range(queries))
                left -= len(calls(notes, "loaded")) == 2
                if not left:
                    return

        answered = list(pool.run(until_the_second_is_there()))
    by = Counter(pid for pid, what in lines(notes)[noted:] if what != "loaded")
    assert by.total() == len(answered) >= 8 * queries
    assert by[owner] < by.total(), "the second worker got nothing"
    last = [pid for pid, _ in lines(notes)[-16:]]
    assert len(set(last)) == 2, "one of the workers was idle at the end"


def test_an_early_end_stops_the_work_and_the_pool_goes_on(notes) -> None:
    items = items_of(50)

    def broken():
        yield from items[:9]
        raise ValueError("no more")

    with Pool(Factory(notes, seconds=0.01), Table(), ONE, "run") as pool:
        with closing(pool.run(items)) as results:
            assert len(list(islice(results, 8))) == 8
            with pytest.raises(RuntimeError, match="already runs"):
                next(pool.run(items))
        time.sleep(0.1)
        asked = len(calls(notes))
        time.sleep(0.4)
        assert len(calls(notes)) == asked < len(items)
        with pytest.raises(ValueError, match="no more"):
            list(pool.run(broken()))
        assert Counter(item for item, _ in pool.run(items[:20])) == Counter(items[:20])


def test_killed_workers_lose_nothing(notes) -> None:
    items = items_of(100)
    killed = []

    def kill_twice() -> None:
        for number in (40, 160):
            wait_until(lambda number=number: len(calls(notes)) >= number)
            pid = calls(notes)[-1]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killer = threading.Thread(target=kill_twice)
    killer.start()
    with Pool(Factory(notes, seconds=0.005, gather=2), Table(), SMALL, "run") as pool:
        results = list(pool.run(items))
    killer.join()
    assert len(set(killed)) == 2
    assert Counter(results) == Counter((item, right(item)) for item in items)
    again = Counter(name(item) for item in items)
    asked = Counter(what for _, what in lines(notes) if what != "loaded")
    assert (asked - again).total() <= 2 * SMALL.in_flight * SMALL.batch, "only what was in flight is asked again"


def test_an_item_that_kills_its_worker_fails_alone(notes) -> None:
    items = [WorkItem(query) for query in range(24)]
    patient = ONE.model_copy(update={"retries": 2})
    with Pool(Factory(notes, deadly=frozenset({5})), Table(), patient, "run") as pool:
        results = dict(pool.run(items))
    failure = results.pop(WorkItem(5))
    assert results == {item: right(item) for item in items if item.query != 5}
    assert isinstance(failure, Failure) and failure.kind is FailureKind.CRASH
    assert "\n" not in failure.reason and "its process died" in failure.reason
    assert sum(what == "5" for _, what in lines(notes)) == 3  # the last time alone


def test_a_worker_that_hangs_is_replaced(notes) -> None:
    items = [WorkItem(query) for query in range(6)]
    impatient = ONE.model_copy(update={"batch": 1, "retries": 0, "batch_seconds": 5.0})
    with Pool(Factory(notes, hanging=frozenset({2})), Table(), impatient, "run") as pool:
        results = dict(pool.run(items))
    failure = results.pop(WorkItem(2))
    assert results == {item: right(item) for item in items if item.query != 2}
    assert isinstance(failure, Failure) and failure.kind is FailureKind.CRASH
    assert "gave nothing for 5 s (vlm.workers.batch_seconds)" in failure.reason
    (first, second) = calls(notes, "loaded")
    assert not alive(first) and first != second


def test_a_worker_that_always_dies_ends_the_run(notes, monkeypatch) -> None:
    monkeypatch.setattr("sweep.vlm.pool.workers.HOPELESS", 3)
    everything = frozenset(range(1000))
    with (
        Pool(Factory(notes, deadly=everything), Table(), ONE, "run") as pool,
        pytest.raises(ClusterError, match=r"3 times in a row without a single answer.*its process died") as caught,
    ):
        list(pool.run(items_of(1000)))
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_be_loaded_is_told_in_the_workers_words(notes) -> None:
    with (
        Pool(Refusing(notes, "user"), Table(), SMALL, "run") as pool,
        pytest.raises(RunError, match=r"^no checkpoint at /models/none: give a folder$"),
    ):
        list(pool.run(items_of(20)))
    assert len(calls(notes, "tried")) <= 2


def test_a_worker_that_never_starts_ends_the_run(notes) -> None:
    told = r"^no worker of the vision-language model can be started: its process died \([^\n]*\)$"
    said: list[str] = []
    with (
        Pool(Refusing(notes, "exit"), Table(), ONE, "run", say=said.append) as pool,
        pytest.raises(ClusterError, match=told),
    ):
        list(pool.run(items_of(5)))
    assert len(calls(notes, "tried")) == 3
    (line,) = said
    assert "did not start, for good: its process died" in line


def test_a_start_that_fails_for_a_moment_is_tried_again(notes) -> None:
    with Pool(Refusing(notes, "bug", succeed_after=1), Table(), ONE, "run") as pool:
        assert len(list(pool.run(items_of(5)))) == 20
    assert len(calls(notes, "tried")) == 2


def test_a_cluster_without_capacity_is_told_at_once(notes) -> None:
    settings = WorkerSettings(cpus=1, gpus=0.5)
    with Pool(Factory(notes), Table(), settings, "run") as pool, pytest.raises(ClusterError, match=r"0\.5 GPUs"):
        list(pool.run(items_of(1)))


def test_a_cluster_whose_capacity_is_taken_is_told_after_a_while(notes, tmp_path) -> None:
    other = tmp_path / "other"
    with (
        Pool(Factory(other), Table(), WorkerSettings(cpus=2), "other") as holder,
        Pool(Factory(notes), Table(), ONE, "run", patience=1.5) as pool,
    ):
        list(holder.run([WorkItem(1)]))
        with pytest.raises(ClusterError, match=r"within 1\.5 s: of the cluster's 2 CPUs .* 0 and 0 are free"):
            list(pool.run(items_of(1)))


def test_workers_started_ahead_wait_for_room_load_and_are_the_ones_that_answer(notes, tmp_path) -> None:
    other, items = tmp_path / "other", items_of(10)
    with Pool(Factory(notes, gather=2), Table(), SMALL, "run") as pool:
        with Pool(Factory(other), Table(), WorkerSettings(cpus=2), "other") as holder:
            list(holder.run([WorkItem(1)]))
            pool.start(len(items))
            assert len(list(holder.run(items_of(30)))) == 120 and not notes.exists(), "they take nobody's room"
        assert pool._workers is not None
        for worker in pool._workers.alive():
            worker.since -= 1e6  # for long, but nobody waited for them
        results = list(pool.run(items))
        assert Counter(results) == Counter((item, right(item)) for item in items)
        before = set(calls(notes, "loaded"))
        pool.start(len(items))
        assert set(calls(notes)) <= before and len(before) == 2


def test_a_worker_that_dies_ahead_of_the_first_prompt_is_replaced(notes) -> None:
    items = items_of(20)
    with Pool(Factory(notes), Table(), SMALL, "run") as pool:
        pool.start(len(items))
        wait_until(lambda: len(calls(notes, "loaded")) == 2)
        assert not calls(notes)
        killed = calls(notes, "loaded")[0]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not alive(killed))
        assert Counter(pool.run(items)) == Counter((item, right(item)) for item in items)
        assert killed not in calls(notes)


def test_the_end_kills_its_own_workers_and_no_others(notes, tmp_path) -> None:
    other = tmp_path / "other"
    with Pool(Factory(other), Table(), ONE, "other") as stays:
        list(stays.run([WorkItem(1)]))
        with pytest.raises(KeyboardInterrupt), Pool(Factory(notes, seconds=0.05), Table(), ONE, "run") as pool:
            for _ in pool.run(items_of(100)):
                raise KeyboardInterrupt
        (gone,), (kept,) = calls(notes, "loaded"), calls(other, "loaded")
        wait_until(lambda: not alive(gone))
        assert alive(kept)
        assert len(list(stays.run([WorkItem(2)]))) == 1
    assert len(calls(other, "loaded")) == 1


def test_an_item_that_raises_fails_alone_and_progress_ends_complete(notes) -> None:
    seen = []
    items = [WorkItem(query) for query in range(30)]
    factory = Factory(notes, seconds=0.002, raising=frozenset({3}))
    with Pool(factory, Table(), SMALL.model_copy(update={"retries": 0}), "run", observer=seen.append) as pool:
        results = dict(pool.run(items))
    failure = results.pop(WorkItem(3))
    assert results == {item: right(item) for item in items if item.query != 3}
    assert isinstance(failure, Failure) and failure.kind is FailureKind.CRASH
    assert "\n" not in failure.reason and "ValueError: query 3 is poisoned" in failure.reason
    assert sum(what == "3" for _, what in lines(notes)) == 2
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    last = seen[-1]
    assert (last.done, last.total, last.failed, last.seconds_left) == (30, 30, 1, 0.0)
    assert last.rate > 0
    assert sum(last.by_worker.values()) == 29
    assert all(re.fullmatch(r"VlmWorker\[run\] [12]", worker) for worker in last.by_worker)


def test_memory_does_not_depend_on_the_number_of_items(notes) -> None:
    """Answers of 4 kB: held back, 30,000 of them would take 120 MB."""
    settings = SMALL.model_copy(update={"batch": 256})
    peaks = []
    with Pool(Factory(Path(os.devnull), length=4000), Table(), settings, "run") as pool:
        for count in (1000, 30_000):
            peak = done = 0
            for _ in pool.run(WorkItem(number // 10, (number % 10,)) for number in range(count)):
                done += 1
                if done % 500 == 0:
                    peak = max(peak, resident_megabytes())
            assert done == count
            peaks.append(peak)
    assert peaks[1] - peaks[0] < 60, peaks


def resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

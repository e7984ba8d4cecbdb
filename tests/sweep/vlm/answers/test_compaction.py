"""Many parts become one; nobody who reads or writes beside it loses anything."""

import os
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from sweep.storage.local import stored_at
from sweep.vlm.answers.parquet import ROWS_PER_GROUP, Wanted
from sweep.vlm.answers.store import UNFINISHED, AnswerStore
from sweep.vlm.answers.writer import AnswerWriter
from sweep.vlm.work import WorkItem
from tests.sweep.vlm.answers.builders import answer, fill, found, key_of


def test_which_of_two_drivers_answers_counts_does_not_change_by_compaction(tmp_path: Path) -> None:
    """The first answer comes into its part last."""
    store = AnswerStore(stored_at(tmp_path))
    with AnswerWriter(store, "model", seconds=1000) as slow:
        slow.add(WorkItem(1), Wanted(key_of(1)), answer("first"))
        with AnswerWriter(AnswerStore(stored_at(tmp_path)), "model") as quick:
            time.sleep(0.001)
            quick.add(WorkItem(1), Wanted(key_of(1)), answer("second"))
    assert len(store.parts()) == 2
    assert found(store, [1]) == {1: answer("first")}
    assert store.compact(many=1)
    assert found(store, [1]) == {1: answer("first")}


def test_compaction_waits_for_many_parts_and_for_nobody(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    for number in range(5):
        fill(store, [number])
    assert not store.compact(many=5)
    with FileLock(tmp_path / ".compaction.lock"):
        assert not AnswerStore(stored_at(tmp_path)).compact(many=2)
    assert len(store.parts()) == 5
    assert store.compact(many=4)
    assert len(store.parts()) == 1
    assert len(found(store, range(5))) == 5


@pytest.mark.parametrize("hours", [0, 800, -800])
def test_only_temporary_files_of_long_ago_are_removed(
    hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this machine's clock says: it is not the one that the storage goes by."""
    store = AnswerStore(stored_at(tmp_path))
    for number in range(3):
        fill(store, [number])
    old, young = tmp_path / f"{UNFINISHED}old", tmp_path / f"{UNFINISHED}young"
    for file in (old, young):
        file.write_text("half")
    now = time.time()
    os.utime(old, (now - 2 * 24 * 3600,) * 2)
    monkeypatch.setattr(time, "time", lambda: now + hours * 3600)
    assert store.compact(many=1)
    assert not old.exists()
    assert young.exists()


def test_a_long_run_compacts_as_it_goes(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    with AnswerWriter(store, "model", rows=2) as writer:
        for number in range(300):
            writer.add(WorkItem(number), Wanted(key_of(number)), answer(f"text {number}"))
    assert len(store.parts()) < 100
    assert len(found(store, range(300))) == 300


def test_a_reader_loses_nothing_to_compactions_beside_it(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    fill(store, range(40))
    stop = threading.Event()
    errors: list[BaseException] = []

    def churn() -> None:
        mine, number = AnswerStore(stored_at(tmp_path)), 1000
        try:
            while not stop.is_set():
                for _ in range(3):
                    fill(mine, [number := number + 1])
                mine.compact(many=1)
        except BaseException as error:  # shown below
            errors.append(error)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        names: set[Path] = set()
        deadline = time.monotonic() + 60
        while len(names) < 30:
            assert time.monotonic() < deadline, "the parts do not change while they are read"
            names |= set(store.parts())
            assert len(found(store, range(40))) == 40
    finally:
        stop.set()
        thread.join()
    assert not errors
    assert not store.skipped


def test_row_groups_of_merged_parts_are_large(tmp_path: Path) -> None:
    """Many small parts must not become one part of many small pieces: each piece costs a reader time."""
    store = AnswerStore(stored_at(tmp_path))
    for begin in range(0, 3000, 500):
        fill(store, range(begin, begin + 500))
    assert store.compact(many=1)
    (part,) = store.parts()
    with pq.ParquetFile(part.local()) as file:
        assert (file.metadata.num_rows, file.num_row_groups) == (3000, 1)
    assert ROWS_PER_GROUP > 3000

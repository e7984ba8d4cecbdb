"""What was stored is found, whatever happens to the files between."""

import errno
import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.storage.local import stored_at
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import UNFINISHED, AnswerStore
from sweep.vlm.answers.writer import AnswerWriter, StoreError
from sweep.vlm.work import Answer, Failure, FailureKind, WorkItem
from tests.sweep.vlm.answers.builders import answer, fill, found, key_of


def test_an_empty_store_has_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path / "answers"))
    assert store.lookup({WorkItem(1): Wanted(key_of(1))}) == {}
    assert store.lookup({}) == {}
    assert not store.compact()
    assert not (tmp_path / "answers").exists()


def test_what_is_stored_is_found_and_nothing_else(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    odd = "  Ünïcode \N{GRINNING FACE}\n\x00 'quote' \"quote\""
    with AnswerWriter(store, "model") as writer:
        writer.add(WorkItem(1), Wanted(key_of(1)), answer(""))
        writer.add(WorkItem(2, (5, 6)), Wanted(key_of(2), "aim"), answer(odd, 0.1 + 0.2, 2**40))
        writer.add(WorkItem(3), Wanted(key_of(3)), Failure(FailureKind.IMAGE, "truncated", "images/3.jpg"))
    assert AnswerStore(stored_at(tmp_path)).lookup(
        {
            WorkItem(1): Wanted(key_of(1)),
            WorkItem(2, (5, 6)): Wanted(key_of(2), "aim"),
            WorkItem(3): Wanted(key_of(3)),
            WorkItem(4): Wanted(key_of(4)),
        }
    ) == {
        WorkItem(1): answer(""),
        WorkItem(2, (5, 6)): answer(odd, 0.1 + 0.2, 2**40),
        WorkItem(3): Failure(FailureKind.IMAGE, "truncated", "images/3.jpg"),
    }


def test_several_items_of_one_key_are_all_served(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    fill(store, [1])
    asked = {WorkItem(number): Wanted(key_of(1)) for number in (7, 8)}
    assert store.lookup(asked) == dict.fromkeys(asked, answer("text 1"))


@pytest.mark.parametrize(
    ("stored", "asked", "result", "expected"),
    [
        (None, None, answer(gt_prob=None), answer(gt_prob=None)),
        (None, "aim", answer(gt_prob=None), None),
        ("aim", None, answer(gt_prob=0.5), answer(gt_prob=None)),
        ("aim", "aim", answer(gt_prob=0.5), answer(gt_prob=0.5)),
        ("other", "aim", answer(gt_prob=0.5), None),
        ("aim", None, Failure(FailureKind.TOO_LONG, "x"), None),
        (None, "aim", Failure(FailureKind.TOO_LONG, "x"), Failure(FailureKind.TOO_LONG, "x")),
        ("aim", "aim", Failure(FailureKind.TOO_LONG, "x"), Failure(FailureKind.TOO_LONG, "x")),
        ("other", "aim", Failure(FailureKind.TOO_LONG, "x"), None),
        ("other", "aim", Failure(FailureKind.IMAGE, "x"), Failure(FailureKind.IMAGE, "x")),
        (None, None, Failure(FailureKind.CRASH, "x"), None),
        (None, None, Failure(FailureKind.MEMORY, "x"), None),
    ],
)
def test_what_a_row_serves(tmp_path: Path, stored, asked, result, expected) -> None:
    store = AnswerStore(stored_at(tmp_path))
    with AnswerWriter(store, "model") as writer:
        writer.add(WorkItem(1), Wanted(key_of(1), stored), result)
    assert store.lookup({WorkItem(1): Wanted(key_of(1), asked)}).get(WorkItem(1)) == expected


def test_an_answer_wins_over_a_failure_and_the_first_over_the_second(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    for result in (Failure(FailureKind.IMAGE, "x"), answer("first"), answer("second")):
        with AnswerWriter(store, "model") as writer:
            writer.add(WorkItem(1), Wanted(key_of(1)), result)
    assert found(store, [1]) == {1: answer("first")}
    assert store.compact(many=1)
    assert found(store, [1]) == {1: answer("first")}


@pytest.mark.parametrize("kind", [FailureKind.CRASH, FailureKind.MEMORY])
def test_a_failure_that_need_not_last_is_not_written(tmp_path: Path, kind) -> None:
    store = AnswerStore(stored_at(tmp_path))
    with AnswerWriter(store, "model") as writer:
        writer.add(WorkItem(1), Wanted(key_of(1)), Failure(kind, "x"))
    assert not store.parts()


def test_a_result_is_stored_after_some_time_even_if_nothing_follows(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    with AnswerWriter(store, "model", seconds=0.05) as writer:
        writer.add(WorkItem(1), Wanted(key_of(1)), answer())
        deadline = time.monotonic() + 20
        while not found(store, [1]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        writer.add(WorkItem(2), Wanted(key_of(2)), answer())  # the timer starts again
        while not found(store, [2]):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_an_interrupt_leaves_what_was_answered(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    with pytest.raises(KeyboardInterrupt), AnswerWriter(store, "model") as writer:
        writer.add(WorkItem(1), Wanted(key_of(1)), answer())
        raise KeyboardInterrupt
    assert found(store, [1]) == {1: answer()}


def full_disk(file: Path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_line_that_names_the_folder(tmp_path: Path, monkeypatch) -> None:
    store = AnswerStore(stored_at(tmp_path))
    monkeypatch.setattr("sweep.vlm.answers.writer.part_writer", full_disk)
    with (
        pytest.raises(StoreError, match=f"cannot store answers in {tmp_path}: No space left"),
        AnswerWriter(store, "model") as writer,
    ):
        writer.add(WorkItem(1), Wanted(key_of(1)), answer())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_in_the_background_is_told_at_the_next_result_and_loses_nothing(
    tmp_path: Path, monkeypatch
) -> None:
    store = AnswerStore(stored_at(tmp_path))
    with AnswerWriter(store, "model", seconds=0.01) as writer:
        tried = threading.Event()
        monkeypatch.setattr("sweep.vlm.answers.writer.part_writer", lambda file: (tried.set(), full_disk(file)))
        writer.add(WorkItem(1), Wanted(key_of(1)), answer())
        assert tried.wait(20)
        with pytest.raises(StoreError, match="No space left"):
            writer.add(WorkItem(2), Wanted(key_of(2)), answer())
        monkeypatch.undo()
    assert found(store, [1, 2]) == {1: answer(), 2: answer()}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match=str(tmp_path / "file")),
        AnswerWriter(AnswerStore(stored_at(tmp_path / "file")), "model"),
    ):
        pass


def damage_cut(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-20])


def damage_bit(part: Path) -> None:
    with pq.ParquetFile(part) as file:
        column = file.metadata.row_group(0).column(file.schema_arrow.names.index("text"))
        begin = column.dictionary_page_offset or column.data_page_offset
    content = bytearray(part.read_bytes())
    content[begin + column.total_compressed_size - 1] ^= 0x10
    part.write_bytes(bytes(content))


def damage_empty(part: Path) -> None:
    part.write_bytes(b"")


def damage_foreign(part: Path) -> None:
    pq.write_table(pa.table({"key": [1, 2]}), part)


def damage_folder(part: Path) -> None:
    part.unlink()
    part.mkdir()


@pytest.mark.parametrize("damage", [damage_cut, damage_bit, damage_empty, damage_foreign, damage_folder])
def test_a_damaged_part_is_skipped_named_and_left_alone(tmp_path: Path, damage, caplog) -> None:
    store = AnswerStore(stored_at(tmp_path))
    fill(store, range(3))
    (damaged,) = store.parts()
    fill(store, range(3, 6))
    fill(store, range(6, 9))
    damage(damaged.local())
    for _ in range(2):
        assert found(store, range(9)) == {number: answer(f"text {number}") for number in range(3, 9)}
    assert set(store.skipped) == {damaged}
    assert [str(damaged) in line for line in caplog.messages] == [True]
    fresh = AnswerStore(stored_at(tmp_path))
    assert fresh.compact(many=1)
    assert damaged.exists()
    assert len(fresh.parts()) == 2
    assert found(fresh, range(9)) == {number: answer(f"text {number}") for number in range(3, 9)}


def test_no_changed_byte_makes_a_wrong_answer(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    fill(store, range(3))
    (part,) = store.parts()
    content = part.read_bytes()
    truth = {number: answer(f"text {number}") for number in range(3)}
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 0x10
        part.write_bytes(bytes(changed))
        assert found(AnswerStore(stored_at(tmp_path)), range(3)).items() <= truth.items(), position


def test_files_of_others_are_no_parts(tmp_path: Path) -> None:
    store = AnswerStore(stored_at(tmp_path))
    fill(store, range(3))
    (tmp_path / "notes.parquet").write_text("mine")
    (tmp_path / f"{UNFINISHED}x").write_text("half")
    assert len(found(store, range(3))) == 3
    assert not store.skipped


results_ = st.one_of(
    st.builds(Answer, st.text(max_size=20), st.none() | st.floats(0, 1), st.integers(0, 2**31)),
    st.builds(Failure, st.sampled_from(list(FailureKind)), st.text(max_size=10), st.none() | st.text(max_size=10)),
)
steps = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 5), st.sampled_from([None, "a", "b"]), results_),
    st.tuples(st.sampled_from(["flush", "kill", "compact", "killed compaction", "damaged part", "reopen"])),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=25))
def test_any_history_returns_exactly_what_was_stored(tmp_path_factory, history) -> None:
    folder = tmp_path_factory.mktemp("store")
    store = AnswerStore(stored_at(folder))
    writer = AnswerWriter(store, "model", seconds=1000).__enter__()
    stored, buffered, copies = [], [], 0
    for step in history:
        match step:
            case ("add", number, targets, result):
                if isinstance(result, Answer) and targets is None:
                    result = Answer(result.text, None, result.prompt_tokens)
                writer.add(WorkItem(number), Wanted(key_of(number), targets), result)
                buffered.append((number, targets, result))
            case ("flush",) | ("reopen",):
                writer.flush()
                stored, buffered = stored + buffered, []
                if step[0] == "reopen":
                    store = AnswerStore(stored_at(folder))
                    writer = AnswerWriter(store, "model", seconds=1000).__enter__()
            case ("kill",):  # the buffer is lost, a half-written file stays
                (folder / f"{UNFINISHED}{len(stored)}").write_bytes(b"PAR1 half")
                writer._buffer.clear()
                buffered = []
            case ("compact",):
                store.compact(many=1)
            case ("killed compaction",):  # the merged part stands, the old ones still do as well
                contents = {part: part.read_bytes() for part in store.parts()}
                store.compact(many=1)
                for part, content in contents.items():
                    part.write_bytes(content)
            case ("damaged part",):
                copies += 1
                (folder / f"part-9-{copies}.parquet").write_bytes(b"PAR1 half")
    writer._buffer.clear()
    writer.flush()
    for targets in (None, "a", "b"):
        asked = {WorkItem(number): Wanted(key_of(number), targets) for number in range(6)}
        expected = {item: expected_result(stored, item.query, targets) for item in asked}
        assert AnswerStore(stored_at(folder)).lookup(asked) == {
            item: result for item, result in expected.items() if result
        }


def expected_result(stored, number: int, targets: str | None):
    """From the list of everything stored, the plain way."""
    failure = None
    for at, aimed, result in stored:
        if at != number:
            continue
        if isinstance(result, Answer):
            if targets in (None, aimed):
                return Answer(result.text, None if targets is None else result.gt_prob, result.prompt_tokens)
        elif failure is None and (
            result.kind is FailureKind.IMAGE
            or (result.kind is FailureKind.TOO_LONG and (aimed is None or aimed == targets))
        ):
            failure = result
    return failure

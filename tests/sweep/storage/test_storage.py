"""What every storage must do: the one suite for folders of this machine, S3, and what fsspec opens."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import pytest
from filelock import Timeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.storage.home import HomePath
from sweep.storage.local import LocalPath
from sweep.storage.open import open_folder, open_run_folder
from sweep.storage.path import StoredPath
from sweep.storage.remote_files import LAST
from tests.s3 import S3Server
from tests.sweep.storage.others import Other, claim, hold, let_go, names, others, quick, read, step, write, write_folder


def listed(folder: StoredPath, pattern: str = "*") -> list[str]:
    return [path.name for path in folder.glob(pattern)]


# Reading and writing --------------------------------------------------------------------------------------------------


def test_what_is_written_is_there_for_other_processes(folder: StoredPath, other: Other) -> None:
    run = folder / "grpo-1"
    (run / "run.json").write_json({"one": 1})
    assert other.ask(read, folder.place, "grpo-1/run.json") == '{\n  "one": 1\n}\n'
    with (run / "table").replacing() as file:
        file.write_bytes(b"\0\1")
    assert (run / "table").exists() and (run / "table").read_bytes() == b"\0\1"
    step(run / "trials/0001/best/step-0002")
    assert other.ask(names, folder.place, "*/run.json") == ["grpo-1/run.json"]
    assert other.ask(names, folder.place, "grpo-1/trials/*/best/step-*/*") == [
        f"grpo-1/trials/0001/best/step-0002/{name}" for name in (LAST, "model")
    ]
    assert other.ask(read, folder.place, "grpo-1/trials/0001/best/step-0002/model") == "weights"


def test_what_others_write_is_read_as_it_is_now(folder: StoredPath, other: Other) -> None:
    file = folder / "evaluation/answers"
    assert not file.exists()
    for content in ("first", "ü und 字"):
        other.ask(write, folder.place, "evaluation/answers", content)
        assert file.exists() and file.read_text() == content
    file.write_text("mine")
    assert file.read_bytes() == b"mine" and listed(folder / "evaluation") == ["answers"]


def test_a_write_that_fails_changes_nothing(folder: StoredPath) -> None:
    (folder / "run.json").write_json(1)
    with pytest.raises(ZeroDivisionError), (folder / "run.json").replacing() as file:
        file.write_text("half")
        file.write_text(str(1 / 0))
    with pytest.raises(ZeroDivisionError), (folder / "step").new_folder() as new:
        (new / LAST).write_text(str(1 / 0))
    assert folder.glob("*") == [folder / "run.json"] and (folder / "run.json").read_text() == "1\n"


def test_nothing_is_seen_before_the_end(folder: StoredPath, other: Other) -> None:
    with (folder / "step-0001").new_folder() as new, (folder / "file").replacing() as file:
        for name in (LAST, "inner"):
            (new / name).write_text("{}")
        file.write_text("1")
        assert not (folder / "step-0001").exists() and not (folder / "file").exists()
        assert other.ask(names, folder.place, "[!.]*") == []
    assert listed(folder) == ["file", "step-0001"] and listed(folder / "step-0001") == ["inner", LAST]


def test_the_first_complete_folder_counts_for_all(folder: StoredPath, other: Other) -> None:
    own = folder / "rce/abc"
    other.ask(write_folder, folder.place, "rce/abc", "model")
    for content in ("mine", "mine again"):
        step(own, content)
        assert (own / "model").read_text() == f"model of {other.process.pid}"
        assert (own.local() / "model").read_text() == f"model of {other.process.pid}"
    assert listed(folder / "rce") == ["abc"]


def test_readers_of_files_of_this_machine_get_one(folder: StoredPath, other: Other) -> None:
    other.ask(write, folder.place, "a/data.parquet", "first")
    other.ask(write_folder, folder.place, "a/step-0001", "model", "inner")
    assert (folder / "a/data.parquet").local().read_text() == "first"
    copy = (folder / "a/step-0001").local()
    assert {one.name for one in copy.iterdir()} == {"model", "inner", LAST}
    (folder / "a").forget()
    assert (folder / "a/step-0001").local() == copy and (copy / "model").exists(), "what is stored stays"
    assert not (folder / "a/none").local().exists()


def test_what_is_not_there(folder: StoredPath) -> None:
    for _ in range(2):  # before there is anything at all, and then beside something
        none = folder / "none"
        with pytest.raises(FileNotFoundError) as missing:
            none.read_text()
        assert str(missing.value.filename) == none.shown
        assert not none.exists() and none.glob("*") == [] and none.size() == 0 and none.modified is None
        none.remove()
        none.forget()
        (folder / "something").write_text("1")


def test_what_is_removed_is_gone_for_all(folder: StoredPath, other: Other) -> None:
    file, own = folder / "file", folder / "step-0001"
    file.write_text("1")
    for content in ("first", "second"):
        step(own, content)
        assert (own.local() / "model").read_text() == content
        own.remove()
        assert not own.exists() and not own.local().exists()
    file.remove()
    assert other.ask(names, folder.place, "*") == [] == folder.glob("*")


def test_sizes_and_the_newest(folder: StoredPath) -> None:
    for number, name in enumerate(("b", "c", "a"), start=1):
        (folder / f"runs/{name}/run.json").write_text("x" * 10_000 * number)
        time.sleep(1.1 if folder.shown.startswith("s3") and number == 2 else 0.02)  # S3 counts seconds
    room = 2**16 if isinstance(folder, LocalPath | HomePath) else 0  # what a file system needs besides
    assert 60_000 <= (folder / "runs").size() <= 60_000 + room
    assert 30_000 <= (folder / "runs/a").size() <= 30_000 + room
    assert 30_000 <= (folder / "runs/a/run.json").size() <= 30_000 + room
    files = (folder / "runs").glob("*/run.json")
    assert [file.parent.name for file in files] == ["a", "b", "c"]
    assert (folder / "runs").newest("*/run.json") == folder / "runs/a/run.json"
    assert (folder / "runs").newest("b/*") == files[1] and folder.newest("*.json") is None
    times = [file.modified for file in files]
    assert None not in times and times[0] == max(times) and abs(time.time() - times[0]) < 60


# Growing files --------------------------------------------------------------------------------------------------------


def test_a_growing_file_is_there_for_others_now_and_then_and_at_the_end(folder: StoredPath) -> None:
    log = folder / "grpo-1/run.log"
    growing = log.growing()
    growing._seconds = 0.1
    with growing, growing.file.open("w", buffering=1) as stream:
        text = ""
        for number in range(3):
            text += f"line {number}\n"
            stream.write(f"line {number}\n")
            until = time.monotonic() + 20
            while not log.exists() or log.read_text() != text:
                assert time.monotonic() < until
                time.sleep(0.02)
        stream.write("the end\n")
    assert log.read_text() == text + "the end\n"


def test_a_growing_file_is_there_when_it_says_so(folder: StoredPath) -> None:
    growing = (folder / "events/one").growing()
    for text in ("a", "ab"):
        growing.file.write_text(text)
        growing.upload()
        assert (folder / "events/one").read_text() == text


# Shared use -----------------------------------------------------------------------------------------------------------


def test_a_lock_has_one_holder_and_that_of_a_killed_one_is_free(folder: StoredPath) -> None:
    with others(2) as (one, two):
        file = folder / "grpo-1/driver.lock"
        assert one.ask(hold, file.place) and not two.ask(hold, file.place)
        with pytest.raises(Timeout):
            quick(file.lock()).acquire(timeout=0)
        one.kill()
        with quick(file.lock()).acquire(timeout=0):
            assert not two.ask(hold, file.place)
        assert two.ask(hold, file.place)
        two.ask(let_go)


def test_of_several_that_claim_a_folder_one_has_it(folder: StoredPath) -> None:
    own = folder / "grpo-1"
    with others(3) as three:
        at = time.time() + 0.5
        for one in three:
            one.begin(claim, own.place, at)
        had = [one.answer() for one in three]
        owner = {(own / name).read_text() for name in ("one", "two")}
        pids = [str(one.process.pid) for one, has in zip(three, had, strict=True) if has]
    assert owner == set(pids) and len(pids) == 1, "and it is whole"
    assert own.is_taken("two") and not (folder / "grpo-2").is_taken("two")
    assert not own.claim({"one": "", "two": ""}) and (own / "one").read_text() == pids[0]
    assert [name for name in listed(folder) if not name.startswith(".")] == ["grpo-1"]
    assert listed(own) == ["one", "two"]


# Names ----------------------------------------------------------------------------------------------------------------


def test_names_of_files_and_folders(folder: StoredPath) -> None:
    file = folder / "grpo-1" / "run.json"
    assert file == folder / "grpo-1/run.json" and len({file, folder / "grpo-1/run.json"}) == 1
    assert file.name == "run.json" and file.parent == folder / "grpo-1" and file.parent.parent == folder
    assert (
        file.shown == str(file) == f"{folder.shown}/grpo-1/run.json" and file.place == f"{folder.place}/grpo-1/run.json"
    )
    assert repr(file).endswith(f"Path({file.shown!r})") and file.shown == file.place, "there are no keys in it"
    file.write_text("{}")
    run = open_run_folder(file.parent.place)
    assert run.name == "grpo-1" and (run / "run.json").read_text() == "{}" and run.shown == file.parent.shown
    assert run.parent.glob("*") == [run], "opened with the folder that it stands in"


def test_it_is_no_path_of_this_machine(folder: StoredPath) -> None:
    for use in (open, Path, json.load):
        with pytest.raises((TypeError, AttributeError)):
            use(folder / "run.json")  # type: ignore[operator]


# Listing --------------------------------------------------------------------------------------------------------------

NAMES = [
    "step-0001",
    "step-0002",
    ".step-0003.ab",
    "manifest.json",
    "run.json",
    "0001",
    "best",
    "_shared",
    "grpo-1",
    "part-1.parquet",
]
NAME = st.sampled_from(NAMES)
TREE = st.lists(st.lists(NAME, min_size=1, max_size=4).map("/".join), max_size=9)
PATTERNS = [  # those that are asked for, and all files
    "part-*.parquet",
    "[!.]*/run.json",
    "step-*",
    ".step-*",
    f"step-*/{LAST}",
    f"[!.]*/{LAST}",
    f"*/best/step-*/{LAST}",
    "best/*",
    "*",
    "run.json",
]


def same_listing(
    place: str, tree: list[str], folders: tuple[str, ...] = ("", "grpo-1", "0001/best", "nowhere")
) -> None:
    with tempfile.TemporaryDirectory() as here:
        local, there = Path(here), open_folder(place) / uuid4().hex
        for name in tree:
            file = local / name
            if file.exists() or any(parent.is_file() for parent in file.parents):
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
            (there / name).write_text(name)
        for folder in folders:
            for pattern in PATTERNS:
                wanted = [path.relative_to(local).as_posix() for path in sorted((local / folder).glob(pattern))]
                found = [path.path.relative_to(there.path).as_posix() for path in (there / folder).glob(pattern)]
                assert found == wanted, (folder, pattern)


SLOW = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
@given(tree=TREE)
def test_listings_are_those_of_paths(tmp_path: Path, tree: list[str]) -> None:
    for place in (f"{tmp_path}/here", f"local://{tmp_path}/listed", f"memory://listed{tmp_path}"):
        same_listing(place, tree)


@settings(max_examples=4, deadline=None, suppress_health_check=SLOW)
@given(tree=TREE)
def test_listings_on_an_object_store_too(s3: S3Server, tree: list[str]) -> None:
    same_listing(s3.folder("listed"), tree, ("", "0001/best"))


def test_all_files_are_listed_and_hashed_as_they_are_now(folder: StoredPath, other: Other) -> None:
    step(folder / "run/trials/0001")
    (folder / "run" / ".hidden").write_text("1")
    assert (folder / "run").walk() == [".hidden", f"trials/0001/{LAST}", "trials/0001/model"]
    assert (folder / "nowhere").walk() == []
    for content in ("one", "two"):
        other.ask(write, folder.place, "run/file", content)
        assert (folder / "run" / "file").sha256() == hashlib.sha256(content.encode()).hexdigest()
    with pytest.raises(FileNotFoundError):
        (folder / "run" / "nothing").sha256()

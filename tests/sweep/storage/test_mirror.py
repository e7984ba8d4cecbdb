"""Folders here that stand for folders elsewhere: what is written arrives, what is read is fetched, paths stay paths."""

from __future__ import annotations

import errno
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep.storage.files import atomic_file, atomic_folder, remove_folder, write_json

from sweep.storage import mirror
from sweep.storage.outage import is_outage
from sweep.storage.remote import LAST
from tests.s3 import S3Server
from tests.sweep.storage.others import Other, names, read, scratch, step, write, write_folder

# Writing and reading --------------------------------------------------------------------------------------------------


def test_what_is_written_here_is_seen_by_another_process(uri: str, other: Other) -> None:
    root = mirror.folder_of(uri)
    write_json(root / "grpo-1/run.json", {"one": 1})
    step(root / "grpo-1/trials/0001/best/step-0002")
    assert other.ask(names, uri, "*/run.json") == ["grpo-1/run.json"]
    assert other.ask(read, uri, "grpo-1/run.json") == '{\n  "one": 1\n}\n'
    assert other.ask(names, uri, "grpo-1/trials/*/best/step-*/*") == [
        f"grpo-1/trials/0001/best/step-0002/{name}" for name in (LAST, "model")
    ]
    assert other.ask(read, uri, "grpo-1/trials/0001/best/step-0002/model") == "weights"
    assert other.ask(scratch, uri) != str(root), "each works in its own"

    remove_folder(root / "grpo-1/trials/0001/best/step-0002")
    assert not (root / "grpo-1/trials/0001/best/step-0002").exists()
    assert other.ask(names, uri, "grpo-1/trials/*/best/step-*") == []


def test_a_write_that_fails_is_not_uploaded(uri: str) -> None:
    root = mirror.folder_of(uri)
    write_json(root / "run.json", 1)
    with pytest.raises(ZeroDivisionError), atomic_file(root / "run.json") as file:
        file.write_text(str(1 / 0))
    with pytest.raises(ZeroDivisionError), atomic_folder(root / "step") as folder:
        (folder / LAST).write_text(str(1 / 0))
    assert mirror.listing(root, "*") == [root / "run.json"]
    assert mirror.refresh(root / "run.json").read_text() == "1\n"


def test_fetch_has_what_does_not_change_and_asks_once(uri: str, other: Other) -> None:
    root = mirror.folder_of(uri)
    file, folder = root / "a/data.parquet", root / "a/step-0001"
    for path in (file, folder):
        assert mirror.fetch(path) == path and not path.exists() and not mirror.exists(path)
    other.ask(write, uri, "a/data.parquet", "first")
    other.ask(write_folder, uri, "a/step-0001", "model", "inner")
    assert mirror.exists(file) and mirror.exists(folder) and mirror.exists(folder / "model") and not folder.exists()
    assert mirror.fetch(file).read_text() == "first"
    assert {one.name for one in mirror.fetch(folder).iterdir()} == {"model", "inner", LAST}
    other.ask(write, uri, "a/data.parquet", "second")
    assert mirror.fetch(file).read_text() == "first"
    assert mirror.refresh(file).read_text() == "second"
    assert sorted(path.name for path in root.rglob(".*")) == [], "nothing temporary is left"


def test_refresh_has_what_is_there_now(uri: str, other: Other) -> None:
    root = mirror.folder_of(uri)
    assert not mirror.refresh(root / "evaluation").exists()
    for content in ("first", "second"):
        other.ask(write, uri, "evaluation/answers", content)
        assert mirror.refresh(root / "evaluation" / "answers").read_text() == content
    other.ask(write, uri, "evaluation/table", "and more")
    found = mirror.refresh(root / "evaluation")
    assert {file.name for file in found.iterdir()} == {"answers", "table"}
    remove_folder(root / "evaluation")
    assert not mirror.refresh(root / "evaluation").exists()


def test_a_folder_without_its_manifest_is_not_there_yet(uri: str) -> None:
    root = mirror.folder_of(uri)
    folder = step(root / "step-0001", complete=False)
    mirror.forget(folder)
    assert mirror.exists(folder / "model") and not mirror.exists(folder / LAST)
    assert not mirror.fetch(folder).exists()
    step(folder, "weights again")
    mirror.forget(folder)
    assert (mirror.fetch(folder) / "model").read_text() == "weights again"


@pytest.mark.parametrize("removed", ["step-0001", f"step-0001/{LAST}"])
def test_what_is_removed_while_it_is_fetched_is_not_there(
    uri: str, monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    root = mirror.folder_of(uri)
    store = mirror._mirrors[uri].store
    folder = step(root / "step-0001")
    mirror.forget(folder)
    get_folder = store.get_folder

    def late(key: str, target: Path) -> None:
        store.delete(removed)
        get_folder(key, target)

    monkeypatch.setattr(store, "get_folder", late)
    assert not mirror.fetch(folder).exists()
    assert list(root.iterdir()) == []


def test_what_is_written_into_an_unfinished_folder_goes_with_it(uri: str) -> None:
    root = mirror.folder_of(uri)
    with atomic_folder(root / "step-0001") as folder:
        write_json(folder / "inner.json", 1)
        write_json(folder / LAST, {})
        assert mirror.listing(root, "*") == []
    assert {path.name for path in mirror.listing(root / "step-0001", "*")} == {"inner.json", LAST}
    assert mirror.listing(root, "*") == [root / "step-0001"]


def test_the_first_complete_folder_counts_for_all(uri: str, other: Other) -> None:
    root = mirror.folder_of(uri)
    other.ask(write_folder, uri, "rce/abc", "model")
    folder = step(root / "rce/abc", "mine")
    assert not folder.exists(), "dropped for what stands there"
    assert (mirror.fetch(folder) / "model").read_text() == f"model of {other.process.pid}"
    folder = step(root / "rce/abc", "mine again")
    assert (mirror.fetch(folder) / "model").read_text() == f"model of {other.process.pid}"
    assert other.ask(read, uri, "rce/abc/model") == f"model of {other.process.pid}"


def test_a_folder_that_a_killed_writer_left_is_completed(uri: str, other: Other) -> None:
    root = mirror.folder_of(uri)
    mirror.forget(step(root / "rce/abc", "half", complete=False))
    other.ask(write_folder, uri, "rce/abc", "model")
    assert (mirror.fetch(root / "rce/abc") / "model").read_text() == f"model of {other.process.pid}"


def test_scratch_can_be_given_back(uri: str) -> None:
    root = mirror.folder_of(uri)
    folder = step(root / "trials/0001/best/step-0001")
    mirror.forget(root / "trials/0001")
    assert not (root / "trials/0001").exists() and mirror.exists(folder)
    assert (mirror.fetch(folder) / "model").read_text() == "weights"
    mirror.forget(root / "nothing")


def test_sizes_and_the_newest(uri: str) -> None:
    root = mirror.folder_of(uri)
    for number, name in enumerate(("b", "c", "a"), start=1):
        with atomic_file(root / f"runs/{name}/run.json") as file:
            file.write_text("x" * number)
        time.sleep(1.1 if uri.startswith("s3") and number == 2 else 0.02)  # S3 counts seconds
    assert mirror.size(root / "runs") == 6 and mirror.size(root / "runs/a") == 3
    assert mirror.size(root / "runs/a/run.json") == 3 and mirror.size(root / "none") == 0
    files = mirror.listing(root / "runs", "*/run.json")
    assert [file.parent.name for file in files] == ["a", "b", "c"]
    assert mirror.newest(files) == root / "runs/a/run.json"
    assert mirror.newest(files[1:2]) == files[1]


def test_bytes_and_files_are_stored_as_they_are_now(uri: str) -> None:
    root = mirror.folder_of(uri)
    (root / "log").write_text("one line\n")
    mirror.push(root / "log")
    mirror.push_content(root / "study.db", b"bytes")
    assert not (root / "study.db").exists() and mirror.refresh(root / "study.db").read_bytes() == b"bytes"
    (root / "log").write_text("one line\nanother line\n")
    assert mirror.size(root / "log") == 9
    mirror.push(root / "log")
    assert mirror.size(root / "log") == 22
    mirror.delete(root / "log")
    assert not mirror.exists(root / "log") and (root / "log").exists()
    mirror.delete(root / "log")


def test_a_growing_file_is_uploaded_now_and_then(uri: str) -> None:
    root = mirror.folder_of(uri)
    log = root / "run.log"
    with mirror.uploading(log, seconds=0.1), log.open("w", buffering=1) as stream:
        for number in range(3):
            size = stream.write(f"line {number}\n") * (number + 1)
            until = time.monotonic() + 20
            while mirror.size(log) != size:
                assert time.monotonic() < until
                time.sleep(0.02)
        stream.write("the end\n")
    assert mirror.refresh(log).read_text() == "line 0\nline 1\nline 2\nthe end\n"


def test_a_log_that_cannot_be_uploaded_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "elsewhere").write_text("no folder")
    root = mirror.folder_of(f"local://{tmp_path}/elsewhere")
    with mirror.uploading(root / "run.log", seconds=0.05), (root / "run.log").open("w") as stream:
        stream.write("line\n")
        time.sleep(0.2)
    assert "the storage failed" in caplog.text and f"local://{tmp_path}/elsewhere/run.log" in caplog.text


def test_storage_that_fails_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("no folder")
    root = mirror.folder_of(f"local://{tmp_path}/elsewhere")
    for work in (lambda: write_json(root / "run.json", {}), lambda: step(root / "step-0001")):
        with pytest.raises(OSError) as failed:
            work()
        assert is_outage(failed.value) and failed.value.errno == errno.EIO
        assert str(failed.value.filename).startswith(f"local://{tmp_path}/elsewhere/")


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
    f"step-*/{LAST}",
    f"[!.]*/{LAST}",
    f"*/best/step-*/{LAST}",
    "best/*",
    "*",
    "run.json",
]


def same_listing(uri: str, tree: list[str], folders: tuple[str, ...] = ("", "grpo-1", "0001/best", "nowhere")) -> None:
    with tempfile.TemporaryDirectory() as here:
        local, there = Path(here), mirror.folder_of(uri) / uuid4().hex
        for name in tree:
            file = local / name
            if file.exists() or any(parent.is_file() for parent in file.parents):
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
            mirror._mirrors[uri].store.put(file, f"{there.name}/{name}")
        for folder in folders:
            for pattern in PATTERNS:
                here_too = [path.relative_to(local) for path in sorted((local / folder).glob(pattern))]
                found = [path.relative_to(there) for path in mirror.listing(there / folder, pattern)]
                assert found == here_too, (folder, pattern)
                assert [path.relative_to(local) for path in mirror.listing(local / folder, pattern)] == here_too
        assert not there.exists(), "nothing was fetched"


SLOW = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(tree=TREE)
def test_listings_are_those_of_paths(tmp_path: Path, tree: list[str]) -> None:
    same_listing(f"local://{tmp_path}/listed", tree)
    same_listing(f"memory://listed{tmp_path}", tree)


@settings(max_examples=4, deadline=None, suppress_health_check=SLOW)
@given(tree=TREE)
def test_listings_on_an_object_store_too(s3: S3Server, tree: list[str]) -> None:
    same_listing(s3.folder("listed"), tree, ("", "0001/best"))

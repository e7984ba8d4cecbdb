"""Files on an object store (moto's S3), on a file system (pyarrow's local one) and on what fsspec opens (memory)."""

from __future__ import annotations

import errno
import http.client
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs
from pyarrow.fs import FileType

from sweep.errors import RunError
from sweep.storage.location import Location
from sweep.storage.outage import is_outage
from sweep.storage.remote_files import COPY_BYTES, LAST, RemoteFiles
from tests.s3 import S3Server
from tests.sweep.storage.systems import Recorder, local_store, recorded

ODD = [
    "a b",
    "ü und 字",
    "50%",
    "%20",
    "a+b",
    "h#h",
    "q?q=1&b",
    "[x]*",
    "back\\slash",
    "co:lon",
    ".hidden",
    "~",
    "a;b,c",
]


def test_a_file_comes_back_and_is_replaced(store: RemoteFiles, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"first")
    store.put(tmp_path / "one", "folder/one")
    assert store.read("folder/one") == b"first"
    store.write("folder/one", b"second, and longer")
    store.get("folder/one", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"second, and longer"
    assert store.files("") == {"folder/one": 18}


def test_what_is_where(store: RemoteFiles) -> None:
    store.write("folder/inner/one", b"1")
    store.write("folder/two", b"22")
    kinds = {key: store.kind(key) for key in ("", "folder", "folder/inner", "folder/two", "folder/three", "else")}
    assert kinds == {
        "": FileType.Directory,
        "folder": FileType.Directory,
        "folder/inner": FileType.Directory,
        "folder/two": FileType.File,
        "folder/three": FileType.NotFound,
        "else": FileType.NotFound,
    }
    assert store.names("") == ["folder"]
    assert store.names("folder") == ["inner", "two"] and store.folders("folder") == ["inner"]
    assert store.files("folder") == {"inner/one": 1, "two": 2}
    assert store.names("folder/two") == [] == store.folders("folder/two") and store.files("folder/two") == {}


def test_what_is_not_there(store: RemoteFiles, tmp_path: Path) -> None:
    for _ in range(2):  # before there is anything at all, and then beside something
        assert store.read("none") is None and store.kind("none") == FileType.NotFound
        assert store.names("none") == [] and store.files("none") == {} and store.modified(["none"]) == [None]
        store.delete("none")
        with pytest.raises(FileNotFoundError):
            store.get("none", tmp_path / "none")
        assert not (tmp_path / "none").exists()
        with pytest.raises(FileNotFoundError):
            store.put(tmp_path / "missing", "none")
        store.write("something", b"1")
    assert store.names("") == ["something"]


@pytest.mark.parametrize("size", [0, 1, COPY_BYTES, COPY_BYTES + 1, 11 * 1024**2 + 7])
def test_files_of_any_size(store: RemoteFiles, tmp_path: Path, size: int) -> None:
    content = (os.urandom(1024) * (size // 1024 + 1))[:size]
    (tmp_path / "there").write_bytes(content)
    store.put(tmp_path / "there", "there")
    store.get("there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content == store.read("there")
    assert store.files("") == {"there": size}


def test_odd_names(store: RemoteFiles) -> None:
    odd = [name for name in ODD if not (isinstance(store._fs, fs.PyFileSystem) and set("*?[") & set(name))]
    for number, name in enumerate(odd):
        store.write(f"{name}/{name}", str(number).encode())
    assert store.names("") == sorted(odd)
    for number, name in enumerate(odd):
        assert store.names(name) == [name] and store.read(f"{name}/{name}") == str(number).encode()
        store.delete(name)
        assert store.kind(f"{name}/{name}") == FileType.NotFound
    assert store.files("") == {}


def test_a_location_may_have_odd_names_too(s3: S3Server) -> None:
    for base, names in ((s3.folder(), ODD), ("memory://odd", [name for name in ODD if not set("*?[") & set(name)])):
        for name in names:
            location = Location.of(base).child(name)
            RemoteFiles.open(Location.of(location.uri)).write("file", name.encode())
        assert RemoteFiles.open(Location.of(base)).names("") == sorted(names)
        assert RemoteFiles.open(Location.of(f"{base}/ü und 字")).read("file") == "ü und 字".encode()
    with pytest.raises(RunError, match="for patterns; name the folder without"):
        RemoteFiles.open(Location.of("memory://odd/[x]*"))


def test_when_files_were_written(store: RemoteFiles) -> None:
    store.write("one", b"1")
    time.sleep(1.1 if store._appears_whole else 0.02)  # S3 counts seconds
    store.write("folder/two", b"2")
    one, two, none, folder = store.modified(["one", "folder/two", "none", "folder"])
    assert none is None and folder is None
    if isinstance(store._fs, fs.PyFileSystem):
        assert one is None and two is None, "what fsspec keeps in memory does not tell"
    else:
        assert one is not None and two is not None and one < two and abs(two - time.time()) < 60


# Writing --------------------------------------------------------------------------------------------------------------


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_what_makes_a_folder_complete_is_written_last_and_removed_first(tmp_path: Path) -> None:
    handler = Recorder()
    store = recorded(handler)
    store.put_folder(made(tmp_path / "x", "a", LAST, "z", f"inner/{LAST}", f"z-inner/{LAST}", "inner/b"), "step-1")
    moved = [path for what, path in handler.done if what == "move"]
    assert len(moved) == 6 and moved[-1] == f"step-1/{LAST}"
    handler.done.clear()
    store.delete("step-1")
    assert handler.done == [("delete", f"step-1/{LAST}"), ("delete folder", "step-1")]
    assert store.files("") == {}


def test_folders_come_back(store: RemoteFiles, tmp_path: Path) -> None:
    source = made(tmp_path / "there", LAST, "a", "inner/b c", "inner/deeper/ü")
    store.put_folder(source, "step-1")
    back = tmp_path / "back"
    back.mkdir()
    store.get_folder("step-1", back)
    names = {file.relative_to(back).as_posix() for file in back.rglob("*") if file.is_file()}
    assert names == {LAST, "a", "inner/b c", "inner/deeper/ü"} and (back / "inner/b c").read_text() == "inner/b c"
    store.delete("step-1")
    assert store.files("") == {} and store.kind("step-1") == FileType.NotFound


def test_a_file_system_that_cannot_move_copies(tmp_path: Path) -> None:
    handler = Recorder(moves=False)
    store = recorded(handler)
    for content in (b"first", b"second"):
        store.write("folder/one", content)
        assert store.read("folder/one") == content and store.names("folder") == ["one"]
    assert [path for what, path in handler.done if what == "copy"] == ["folder/one"] * 2


@pytest.mark.parametrize("what", ["write", "move"])
def test_a_write_that_fails_leaves_the_old_file_and_no_parts(what: str) -> None:
    handler = Recorder()
    store = recorded(handler)
    store.write("folder/one", b"old")
    handler.fails = {what}
    with pytest.raises(OSError, match=f"the storage failed: no more {what}$|memory://root/folder/one") as failed:
        store.write("folder/one", b"new")
    assert failed.value.errno == errno.EIO and failed.value.filename == "memory://root/folder/one"
    assert store.read("folder/one") == b"old" and store.names("folder") == ["one"]


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_reader_never_sees_a_part_of_a_file(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """Nor the beginning of one and the end of the next: the study is replaced while `sweep status` fetches it."""
    uri = None if kind == "local" else request.getfixturevalue("s3").folder()
    writer, reader = (
        local_store(tmp_path / "root") if uri is None else RemoteFiles.open(Location.of(uri)) for _ in range(2)
    )

    def write() -> None:
        for number in range(12):
            digit = number * 7 % 10
            writer.write("file", b"%d" % digit * ((digit + 1) * 500_000))
            time.sleep(0.1)

    thread = threading.Thread(target=write)
    thread.start()
    seen, crossed = set(), 0
    while thread.is_alive():
        try:
            content = reader.read("file")
        except OSError as error:
            assert "replaced 10 times while it was read" in str(error)
            crossed += 1
            continue
        if content is not None:
            digit = len(content) // 500_000 - 1
            assert content == b"%d" % digit * ((digit + 1) * 500_000)
            seen.add(digit)
    thread.join()
    assert len(seen) > 2 and crossed < 5
    assert reader.names("") == ["file"]


def test_a_file_that_is_never_the_same_twice_is_told_at_last(s3: S3Server) -> None:
    uri = s3.folder()
    store, other = RemoteFiles.open(Location.of(uri)), RemoteFiles.open(Location.of(uri))
    store.write("file", b"first")

    class Replaced(io.BytesIO):
        times = 0

        def write(self, content: Any) -> int:
            self.times += 1
            other.write("file", b"another" * self.times)
            return super().write(content)

    out = Replaced()
    with pytest.raises(OSError, match="replaced 10 times while it was read") as failed:
        store._copy("file", out)
    assert out.times == 10 and is_outage(failed.value) and failed.value.filename == f"{uri}/file"


def test_an_interrupt_never_leaves_a_part_of_a_file(s3: S3Server) -> None:
    """Pyarrow completes a stream that is closed early: what Ctrl-C interrupts would stand there cut off."""
    store = RemoteFiles.open(Location.of(s3.folder()))
    main = threading.get_ident()
    size = 3_000_000

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    struck = 0
    try:
        for number in range(12):
            timer = threading.Timer(0.006 * number, signal.pthread_kill, (main, signal.SIGUSR1))
            try:
                timer.start()
                for digit in range(100):
                    store.write("study.db", b"%d" % (digit % 10) * size)
            except KeyboardInterrupt:
                struck += 1
            timer.join()
            content = store.read("study.db")
            if content is not None:
                assert len(content) == size and len(set(content)) == 1, (len(content), set(content))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert struck == 12 and store.kind("study.db") == FileType.File


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own answer to Ctrl-C; what runs tests side by side ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_waits_for_the_upload_that_it_strikes(store: RemoteFiles) -> None:
    """Who is told of it may take the study's lock away, and nothing may be stored after that."""
    store.write("file", b"old")

    class Slow:
        left = 5

        def read(self, size: int) -> bytes:
            if self.left == 4:
                signal.raise_signal(signal.SIGINT)  # strikes the main thread
            time.sleep(0.05)
            self.left -= 1
            return b"new" * (self.left > 0)

    slow = Slow()
    with pytest.raises(KeyboardInterrupt):
        store._write("file", slow)
    assert store.read("file") == b"new" * 4 and slow.left == 0


# Keys that no folder here can have ------------------------------------------------------------------------------------


def test_names_that_lead_out_of_a_folder_are_not_there(s3: S3Server, tmp_path: Path) -> None:
    """To an object store .. is a name as any other; whoever may write to the bucket must not write here."""
    store = RemoteFiles.open(Location.of(s3.folder()))
    connection = http.client.HTTPConnection("127.0.0.1", s3.port)
    for key in ("%2e%2e/%2e%2e/out", "inner/%2e%2e/%2e%2e/out", "a//b", "/c"):  # pyarrow would not write them
        connection.request("PUT", f"/{store._root}/step/{key}", b"evil")
        assert connection.getresponse().read() is not None
    connection.close()
    store.write(f"step/{LAST}", b"{}")
    stored = store._fs.get_file_info(fs.FileSelector(f"{store._root}/step", recursive=True))
    assert any(".." in info.path for info in stored) and any("//" in info.path for info in stored)
    assert not {"..", "", "c"} & set(store.names("step")) and store.files("step") == {LAST: 2}
    target = tmp_path / "a" / "b" / "target"
    target.mkdir(parents=True)
    store.get_folder("step", target)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [LAST]


def test_several_threads_may_use_one_store(store: RemoteFiles) -> None:
    def work(number: int) -> None:
        for step in range(5):
            store.write(f"{number}/{step}", f"{number} {step}".encode())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        for step in range(5):
            assert store.read(f"{number}/{step}") == f"{number} {step}".encode()

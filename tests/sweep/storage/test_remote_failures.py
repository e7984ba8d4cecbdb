"""Storage that fails is an outage which names the file, and nothing that is told holds a key."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from sweep.errors import RunError
from sweep.storage.location import Location
from sweep.storage.outage import is_outage
from sweep.storage.remote_files import RemoteFiles
from tests.s3 import S3Server
from tests.sweep.disks import small_disk
from tests.sweep.storage.systems import Recorder, impatient, local_store, recorded


def failures(store: RemoteFiles, folder: Path, *only: str) -> dict[str, OSError]:
    (folder / "file").write_bytes(b"1")
    calls = {
        "put": lambda: store.put(folder / "file", "there"),
        "write": lambda: store.write("there", b"1"),
        "get": lambda: store.get("there", folder / "got"),
        "read": lambda: store.read("there"),
        "kind": lambda: store.kind("there"),
        "modified": lambda: store.modified(["there"]),
        "names": lambda: store.names("there"),
        "files": lambda: store.files("there"),
        "delete": lambda: store.delete("there"),
    }
    found = {}
    for name in only or calls:
        try:
            calls[name]()
        except OSError as error:
            found[name] = error
    return found


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_storage_that_fails_is_an_outage_that_names_the_file(s3: S3Server, tmp_path: Path, how: str) -> None:
    uri = s3.folder().replace("s3://", "s3://KEY:SECRET@")
    store = impatient(uri)
    store.write("there", b"1")
    if how == "stopped":
        s3.stop()
    else:
        s3.freeze()
    try:
        failed = failures(store, tmp_path) if how == "stopped" else failures(store, tmp_path, "write", "read")
    finally:
        if how == "stopped":
            s3.start()
        else:
            s3.thaw()
    assert len(failed) == (9 if how == "stopped" else 2)
    for error in failed.values():
        assert is_outage(error) and error.errno == errno.EIO, error
        assert error.filename == uri.replace("KEY:SECRET", "***") + "/there"
        assert "the storage failed: " in str(error) and "SECRET" not in str(error) and "\n" not in str(error)
    assert store.read("there") == (b"1" if how == "frozen" else None), "moto forgets when it is stopped"


def test_a_bucket_that_does_not_exist(s3: S3Server, tmp_path: Path) -> None:
    failed = failures(RemoteFiles.open(Location.of("s3://no-such-bucket/runs")), tmp_path)
    assert {"put", "write"} <= set(failed)
    assert isinstance(failed.pop("get"), FileNotFoundError)
    for error in failed.values():
        assert error.errno == errno.EIO and error.filename == "s3://no-such-bucket/runs/there"


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    store = local_store(tmp_path / "root")
    store.write("file", b"1")
    with pytest.raises(OSError, match="the storage failed: ") as failed:
        store.write("file/inner", b"1")
    assert failed.value.errno == errno.EIO and failed.value.filename.endswith("/root/file/inner")


@pytest.mark.parametrize("what", ["write", "move", "delete"])
def test_errors_of_foreign_packages_are_outages_too(what: str) -> None:
    handler = Recorder()
    store = recorded(handler)
    store.write("one", b"1")
    handler.fails = {what}
    with pytest.raises(OSError, match=f"no more {what}': 'memory://root/one'$|no more {what}") as failed:
        store.delete("one") if what == "delete" else store.write("one", b"2")
    assert failed.value.errno == errno.EIO and failed.value.filename == "memory://root/one"
    assert "\n" not in str(failed.value)


def test_a_full_disk_here_is_not_blamed_on_the_storage(tmp_path: Path) -> None:
    store = local_store(tmp_path / "root")
    store.write("large", b"1" * 2**20)
    with small_disk(tmp_path / "disk", 4) as disk:
        disk.fill(4)
        with pytest.raises(OSError) as failed:
            store.get("large", disk.root / "large")
    assert failed.value.errno == errno.ENOSPC and "storage failed" not in str(failed.value)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("nosuch://place/runs", "pyarrow knows s3, gs, abfs, hdfs and file, others need their fsspec package"),
        ("s3://KEY:SECRET@bucket/runs?nosuch=1", "Unexpected query parameter in S3 URI: 'nosuch'"),
        ("s3://KEY:SE CRET@bucket/runs", "Cannot parse URI"),
        ("s3:///runs", "Missing bucket name"),
    ],
)
def test_an_address_that_cannot_be_opened_is_refused_in_one_line(uri: str, says: str) -> None:
    with pytest.raises(RunError, match=re.escape(says)) as refused:
        RemoteFiles.open(Location.of(uri))
    assert "\n" not in str(refused.value) and "CRET" not in str(refused.value)
    assert str(refused.value).startswith(uri.partition("://")[0])

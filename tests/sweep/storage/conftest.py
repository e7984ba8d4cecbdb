"""An S3 server of the session, and scratch that is not the user's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.storage import mirror
from sweep.storage.location import Location
from sweep.storage.remote import RemoteStore
from sweep.storage.scratch import CACHE
from tests.s3 import S3Server
from tests.sweep.storage.others import Other, others
from tests.sweep.storage.systems import local_store


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("moto") / "moto.log")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Scratch of this test and of the processes that it starts; what it opened is forgotten afterwards."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(CACHE, str(folder))
    opened: dict[str, mirror._Mirror] = {}
    monkeypatch.setattr(mirror, "_mirrors", opened)
    yield folder
    for one in opened.values():
        one.alive.release()


@pytest.fixture(params=["s3", "local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteStore:
    """An empty folder on an object store, a file system, and what fsspec opens."""
    if request.param == "local":
        return local_store(tmp_path / "elsewhere")
    if request.param == "memory":
        return RemoteStore.open(Location.of(f"memory://elsewhere{tmp_path}"))
    server: S3Server = request.getfixturevalue("s3")
    return RemoteStore.open(Location.of(server.folder("store")))


@pytest.fixture(params=["s3", "local"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder of runs that other processes can reach: on S3, and where fsspec's local file system has it."""
    if request.param == "local":
        return f"local://{tmp_path}/elsewhere"
    server: S3Server = request.getfixturevalue("s3")
    return server.folder("runs")


@pytest.fixture
def other() -> Iterator[Other]:
    with others(1) as [one]:
        yield one

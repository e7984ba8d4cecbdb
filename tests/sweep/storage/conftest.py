"""Folders of every storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.storage.home import HomePath
from sweep.storage.location import Location
from sweep.storage.open import open_folder
from sweep.storage.path import StoredPath
from sweep.storage.remote_files import RemoteFiles
from tests.s3 import S3Server
from tests.sweep.storage.homes import NearHome
from tests.sweep.storage.others import Other, others
from tests.sweep.storage.systems import local_store


@pytest.fixture(autouse=True)
def _own_scratch(cache: Path) -> None:
    """Every test here may open something elsewhere."""


@pytest.fixture(params=["s3", "local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteFiles:
    """An empty folder on an object store, a file system, and what fsspec opens."""
    if request.param == "local":
        return local_store(tmp_path / "elsewhere")
    if request.param == "memory":
        return RemoteFiles.open(Location.of(f"memory://elsewhere{tmp_path}"))
    server: S3Server = request.getfixturevalue("s3")
    return RemoteFiles.open(Location.of(server.folder("store")))


@pytest.fixture
def remote(uri: str) -> StoredPath:
    """The same, opened."""
    return open_folder(uri)


@pytest.fixture(params=["local", "home", "s3", "fsspec"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> StoredPath:
    """An empty folder of every storage."""
    if request.param == "local":
        return open_folder(tmp_path / "here")
    if request.param == "home":
        return HomePath.open(NearHome(tmp_path / "there"))
    if request.param == "fsspec":
        return open_folder(f"local://{tmp_path}/elsewhere")
    server: S3Server = request.getfixturevalue("s3")
    return open_folder(server.folder("runs"))


@pytest.fixture
def other() -> Iterator[Other]:
    with others(1) as [one]:
        yield one

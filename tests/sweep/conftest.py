"""What tests of several packages share: the command line in this process, runs, an S3 server, and scratch of a test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sweep.execution.ray.ahead import Ahead
from sweep.runs.paths import RunPaths
from sweep.storage.scratch import CACHE
from tests.s3 import S3Server
from tests.sweep.commands import ALONE, Command, Ran, call, sweep
from tests.sweep.finished import finished_run
from tests.sweep.spaces import complete_run


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`command("status", "mine")` gives exit code, stdout and stderr.

    No Ray starts ahead: Ray ends the process a minute after a start that was given up, and this one lives on.
    """
    monkeypatch.setattr(Ahead, "_begin", lambda self: None)
    return partial(call, capfd, monkeypatch)


@pytest.fixture(scope="session")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """The run `mine`; tests that change it take a copy."""
    return complete_run(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """The run `mine` with all that a run can hold. Tests that change it take the `copy`."""
    return finished_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def copy(finished: RunPaths, tmp_path: Path) -> Path:
    """A copy of the whole folder of runs of `finished`, as people move one. Gives the run's folder."""
    shutil.copytree(finished.root.local().parent, tmp_path / "runs")
    return tmp_path / "runs" / "mine"


@pytest.fixture(scope="session")
def undisturbed(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run of `ALONE`, which others are held against. Nobody changes it."""
    return sweep(tmp_path_factory.mktemp("undisturbed"), **ALONE)


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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scratch of this test and of the processes that it starts."""
    folder = tmp_path / "cache"
    monkeypatch.setenv(CACHE, str(folder))
    return folder


@pytest.fixture(params=["s3", "fsspec"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, cache: Path) -> str:
    """A folder of runs that other processes can reach: on S3, and where fsspec's local file system has it."""
    if request.param == "fsspec":
        return f"local://{tmp_path}/elsewhere"
    server: S3Server = request.getfixturevalue("s3")
    return server.folder("runs")

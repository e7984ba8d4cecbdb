"""Arguments that do not fit, and commands that do not exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import optuna
import pytest

from sweep.cli import app as cli
from sweep.driver import session
from sweep.errors import ClusterError
from tests.selector.data.builders import rl_data, store
from tests.sweep.broken.commands import refused, space

BROKEN_ARGUMENTS: dict[str, tuple[list[str], list[str]]] = {
    "no such space": (["run", "grop.yaml"], ["'grop.yaml' does not exist", "spaces that ship are", "grpo.yaml"]),
    "misspelt space": (["run", "spcae.yaml"], ["'spcae.yaml'", "near it: space.yaml"]),
    "space is a folder": (["validate", "folder"], ["'folder' is a folder, not a file"]),
    "space has a zero byte": (["validate", "a\0b"], ["a", "does not exist"]),
    "embeddings alone": (["run", "space.yaml", "--embeddings", "e.pth"], ["--embeddings e.pth", "--data"]),
    "embeddings of another kind": (
        ["run", "space.yaml", "--data", "data", "--embeddings", "data/rl_data.json"],
        ["data/rl_data.json", "embeddings end in .pth"],
    ),
    "embeddings are a folder": (["run", "space.yaml", "--data", "data", "--embeddings", "folder.npy"], ["is a folder"]),
    "no such embeddings": (["run", "space.yaml", "--data", "data", "--embeddings", "e.pth"], ["e.pth: no such file"]),
    "the embeddings as data": (
        ["run", "space.yaml", "--data", "data/embeddings.pth"],
        ["data/embeddings.pth", "UTF-8"],
    ),
    "a device as data": (["run", "space.yaml", "--data", "/dev/null"], ["/dev/null", "not a regular file"]),
    "a path below a file": (["run", "space.yaml", "--data", "space.yaml/x"], ["space.yaml/x: no such file"]),
    "name leads away": (["run", "space.yaml", "--name", "../outside"], ["--name '../outside'", "letters, digits"]),
    "name is a path": (["run", "space.yaml", "--name", "a/b"], ["--name 'a/b'", "--runs"]),
    "name is empty": (["run", "space.yaml", "--name", ""], ["--name ''"]),
    "name has a space": (["run", "space.yaml", "--name", "a b"], ["--name 'a b'"]),
    "name is a dot": (["run", "space.yaml", "--name", ".."], ["--name '..'"]),
    "runs is a file": (["run", "space.yaml", "--runs", "space.yaml"], ["cannot make a run folder in space.yaml"]),
    "runs below a file": (["run", "space.yaml", "--runs", "space.yaml/x"], ["space.yaml/x", "Not a directory"]),
    "storage is no URL": (["run", "no_url.yaml"], ["storage 'study.db' is not a URL", "sqlite:///"]),
    "storage leads nowhere": (["run", "nowhere.yaml"], ["folder 'nowhere' does not exist"]),
    "storage has the study": (["run", "taken.yaml", "--name", "mine"], ["has a study 'mine' already", "--name"]),
    "import onto something": (["data", "import", "data", "--out", "data"], ["data", "not empty"]),
    "import below a file": (["data", "import", "data", "--out", "space.yaml/x"], ["space.yaml/x", "Not a directory"]),
    "status of nothing": (["status"], ["no runs in runs", "python -m sweep run"]),
    "resume of nothing": (["resume", "x"], ["no run 'x'", "runs in runs: none"]),
    "export of a folder without a run": (["export", "data"], ["no run 'data'"]),
    "verify of a file": (["verify", "space.yaml"], ["no run 'space.yaml'"]),
}


@pytest.mark.parametrize("name", BROKEN_ARGUMENTS)
def test_broken_arguments(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, fragments = BROKEN_ARGUMENTS[name]
    store(Path("data"), rl_data())
    for folder in ("folder", "folder.npy"):
        Path(folder).mkdir()
    Path("no_url.yaml").write_text(space(storage="study.db"))
    Path("nowhere.yaml").write_text(space(storage="sqlite:///nowhere/study.db"))
    Path("taken.yaml").write_text(space(storage="sqlite:///taken.db"))
    optuna.create_study(study_name="mine", storage="sqlite:///taken.db")
    refused(capsys, monkeypatch, arguments, fragments)
    assert not list(Path().rglob("run.json"))
    assert not Path("../outside").exists() and not list(Path().glob("runs/*"))


USAGE: dict[str, tuple[list[str], str]] = {
    "unknown command": (["rnu", "space.yaml"], "No such command 'rnu'"),
    "unknown option": (["run", "space.yaml", "--trails", "3"], "--trails"),
    "no space": (["run"], "Missing argument"),
    "no cores": (["run", "space.yaml", "--cpus", "0"], "--cpus"),
    "half a core": (["run", "space.yaml", "--cpus", "0.5"], "--cpus"),
    "cores in words": (["resume", "--cpus", "two"], "--cpus"),
    "two spaces": (["run", "space.yaml", "space.yaml"], "unexpected extra argument"),
    "option without value": (["run", "space.yaml", "--name"], "--name"),
    "import without target": (["data", "import", "data"], "--out"),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, fragment = USAGE[name]
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    assert stopped.value.code == 2 and "Traceback" not in captured.err and not Path("runs").exists()
    # Typer draws its boxes with colours on a machine that asks for them (GitHub's, say).
    assert fragment in re.sub(r"\x1b\[[0-9;]*m", "", captured.err), captured


def test_a_run_that_cannot_start_leaves_no_folder(
    ray_session: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray runs already: where it is started, its own lines come into the test's stderr, which is no file descriptor."""

    def no_cluster(*arguments: object) -> None:
        raise ClusterError("cannot join")

    monkeypatch.setattr(session, "connected", no_cluster)
    monkeypatch.setattr(sys, "argv", ["sweep", "run", "space.yaml"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err == "error: cannot join\n"
    assert not list(Path("runs").iterdir())

"""What people see of broken input: one line, exit code 2, and nothing has been started.

One case for each kind of input. All other kinds of damage are tested where they are found.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sweep.driver import session
from sweep.errors import ClusterError
from sweep.runs.paths import RunPaths
from tests.selector.data.builders import rl_data, store
from tests.sweep.commands import Command

TINY = {
    "name": "tiny",
    "data": {"demo": {"items": 200, "queries": 30}},
    "trial": {"model": {"hidden": 8, "heads": 2}, "rce": {"epochs": 1}, "grpo": {"epochs": 1}},
    "budget": {"trials": 2},
}
RUN = Path("runs/mine")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good_run: RunPaths) -> None:
    """A space, data and a run, all valid. A command that gets as far as the trials fails the test."""

    def started(*arguments: object) -> None:
        raise AssertionError("trials were started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "connected", started)
    Path("space.yaml").write_text(yaml.safe_dump(TINY))
    Path("broken.yaml").write_text("name: x\nbudget:\n  trails: 3\n")
    Path("storage.yaml").write_text(yaml.safe_dump({**TINY, "storage": "study.db"}))
    store(Path("data"), rl_data())
    store(Path("text"), "query,pointer\n8,3\n")
    shutil.copytree(good_run.root.local(), RUN)


def no_study() -> None:
    for file in RUN.glob("study.db*"):
        file.unlink()


def cut(pattern: str) -> Callable[[], object]:
    def change() -> None:
        for file in RUN.glob(pattern):
            file.write_bytes(file.read_bytes()[:100])

    return change


def nothing() -> None:
    """Break nothing more than the arguments are."""


REFUSED: dict[str, tuple[Callable[[], object], str, list[str]]] = {
    "space": (nothing, "run broken.yaml", ["broken.yaml:3: budget.trails", "'trials'"]),
    "no space": (nothing, "validate grop.yaml", ["'grop.yaml' does not exist", "spaces that ship are"]),
    "data": (nothing, "run space.yaml --data text", ["text/rl_data.json", "not JSON at line 1"]),
    "data to import": (nothing, "data import text --out new", ["text/rl_data.json", "not JSON at line 1"]),
    "embeddings": (nothing, "run space.yaml --embeddings e.pth", ["--embeddings e.pth", "--data"]),
    "name": (nothing, "run space.yaml --name ../outside", ["--name '../outside'", "letters, digits"]),
    "folder of runs": (nothing, "run space.yaml --runs space.yaml", ["cannot make a run folder in space.yaml"]),
    "storage": (nothing, "run storage.yaml", ["storage 'study.db' is not a URL", "sqlite:///"]),
    "no run": (nothing, "status other", ["no run 'other'; runs in runs: mine"]),
    "run": (cut("run.json"), "status mine", ["runs/mine/run.json", "damaged", "EOF"]),
    "study": (no_study, "resume mine", ["mine/study.db is missing, though trials have run"]),
    "checkpoint": (cut("trials/0000/best/*/model*"), "export mine --out new", ["model.safetensors", "altered"]),
    "space of a run": (cut("space.yaml"), "verify mine", ["runs/mine/space.yaml"]),
    "target": (nothing, "export mine --out data", ["data exists and is not an empty folder"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_broken_input_is_one_line_and_starts_nothing(name: str, command: Command) -> None:
    damage, arguments, fragments = REFUSED[name]
    damage()
    before = sorted(Path().rglob("*"))
    code, out, message = command(*arguments.split())
    waits = all(line.endswith(" ...") for line in out.splitlines())
    assert code == 2 and (waits or name == "study"), "only what is waited for is printed before the checks have passed"
    assert message.startswith("error: ") and message.count("error:") == 1, message
    assert message.endswith("\n") and message.count("\n") == 1, message
    assert "Traceback" not in message and len(message) < 600, message
    for fragment in fragments:
        assert fragment in message, f"{fragment!r} is not in {message!r}"
    after = {path for path in Path().rglob("*") if path.suffix not in (".lock", ".log", ".db-wal", ".db-shm")}
    after -= {RUN / "driver.json"}  # a driver that was refused says so
    assert after <= set(before), "no run and nothing half-written"


@pytest.mark.parametrize(
    "arguments",
    ["validate space.yaml", "validate space.yaml --data data", "status mine", "verify mine", "export mine --out new"],
)
def test_the_refusals_start_from_valid_input(arguments: str, command: Command) -> None:
    """So that each refusal is about the one thing that is broken."""
    code, _, error = command(*arguments.split())
    assert not code, error


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ("rnu space.yaml", "No such command 'rnu'"),
        ("run space.yaml --trails 3", "--trails"),
        ("run", "Missing argument"),
        ("run space.yaml --cpus 0.5", "--cpus"),
        ("run space.yaml --name", "--name"),
    ],
)
def test_usage(arguments: str, fragment: str, command: Command) -> None:
    code, _, error = command(*arguments.split())
    assert code == 2 and "Traceback" not in error
    # Typer draws its boxes with colours on a machine that asks for them (GitHub's, say).
    assert fragment in re.sub(r"\x1b\[[0-9;]*m", "", error), error


def test_a_run_that_cannot_start_leaves_no_folder(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_cluster(*arguments: object) -> None:
        raise ClusterError("cannot join")

    monkeypatch.setattr(session, "connected", no_cluster)
    code, _, error = command("run", "space.yaml", "--no-dashboard")
    assert code == 2 and error == "error: cannot join\n"
    assert list(Path("runs").iterdir()) == [RUN]

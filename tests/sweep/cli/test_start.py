"""What can be seen before a command's program is loaded: the first line, silence where it is asked for, completion."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from sweep.cli import app, runs
from sweep.cli.completion import StandIn
from sweep.execution.ray.ahead import Ahead
from tests.sweep.commands import Command

SPACE = "name: x\ndata: {demo: {items: 200, queries: 30}}\n"


def sweep(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sweep", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_run_says_something_before_its_program_is_loaded(tmp_path: Path) -> None:
    """A fresh process: half of the time until it ends is a generous bound for what needs no import."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "sweep", "run", "broken.yaml"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    said = time.monotonic() - began
    rest, _ = process.communicate()
    slow = "still loading the program"  # what a busy machine says beside it
    spoken = [line for line in rest.splitlines() if not line.startswith(slow)]
    assert first == "loading the program ...\n" and spoken == ["reading broken.yaml, its data and items ..."]
    assert process.returncode == 2 and said < 0.5 * (time.monotonic() - began)


@pytest.mark.parametrize(
    ("changed", "said", "begins"),
    [
        ("sampler: {type: best}", "sampler", False),
        ("data: {path: nothing.json}", "nothing.json", False),
        ("data: {path: .}", "the folder holds neither rl_data.json", True),
    ],
)
def test_ray_begins_to_start_when_the_space_is_right(
    changed: str,
    said: str,
    begins: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    """Before the data is read. What is wrong is one line, and Ray is gone by then."""
    events: list[str] = []

    class Recorded(Ahead):
        def _begin(self) -> None:
            events.append("begins")

        def _end(self) -> None:
            events.append("ends")

    monkeypatch.setattr(runs, "Ahead", Recorded)
    space = yaml.safe_load(SPACE) | yaml.safe_load(changed)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(space))
    monkeypatch.chdir(tmp_path)
    code, _, error = command("run", "s.yaml")
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert events == (["begins", "ends"] if begins else [])


@pytest.mark.parametrize("arguments", [["-q", "validate", "s.yaml"], ["validate", "s.yaml", "--quiet"]])
def test_quiet_prints_nothing(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SPACE)
    assert command(*arguments) == (0, "", "")
    code, out, _ = command("validate", "s.yaml")
    assert code == 0 and "valid" in out, "the next command of this process is heard again"


def test_quiet_does_not_hide_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, error = command("run", "nothing.yaml", "-q")
    assert (code, out) == (2, "") and error.startswith("error: search space 'nothing.yaml' does not exist")


def test_a_program_is_loaded_without_a_search_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    searching: list[bool] = []

    def load(name: str) -> object:
        searching.append(gc.isenabled())
        return import_module(name)

    monkeypatch.setattr(app, "import_module", load)
    assert app.load_command("schema").name == "schema"
    assert searching == [False] and gc.isenabled()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, of which `beta` is the newer one, and some files."""
    for age, name in enumerate(("beta", "alpha-1", "_shared")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").touch()
        os.utime(tmp_path / "runs" / name / "run.json", (1000 - age, 1000 - age))
    (tmp_path / "myfolder").mkdir()
    for name in ("my.yaml", "other.yaml", "my.txt", "myfolder/inside.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "begun", "expected"),
    [
        ("status", "", ["beta", "alpha-1"]),
        ("export", "al", ["alpha-1"]),
        ("run", "my", ["my.yaml", "myfolder/"]),
        ("run", "myfolder/", ["myfolder/inside.yaml"]),
        ("validate", "spaces/g", ["spaces/grpo.yaml"]),
        ("schema", "", []),
    ],
)
def test_runs_and_spaces_are_completed(folder: Path, name: str, begun: str, expected: list[str]) -> None:
    assert [word.value for word in StandIn(name).shell_complete(None, begun)] == expected


@pytest.mark.parametrize(("words", "expected"), [("sweep stat", ["status"]), ("sweep resume --cpus 2 b", ["beta"])])
def test_bash_completes_without_loading_a_program(words: str, expected: list[str], folder: Path) -> None:
    place = str(len(words.split(" ")) - 1)
    program = "import sys; sys.modules['torch'] = None; from sweep.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"_SWEEP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == expected, done.stderr


def test_options_are_completed_by_the_command_itself(tmp_path: Path) -> None:
    done = sweep(tmp_path, _SWEEP_COMPLETE="complete_bash", COMP_WORDS="sweep schema --h", COMP_CWORD="2")
    assert done.stdout.split() == ["--help"]


def test_the_script_that_is_installed_is_for_the_program_of_that_name(tmp_path: Path) -> None:
    done = sweep(tmp_path, "--show-completion", "bash")
    assert done.returncode == 0 and "complete -o default -F _sweep_completion sweep" in done.stdout

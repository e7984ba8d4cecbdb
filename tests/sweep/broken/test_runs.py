"""Run folders that are damaged, foreign or moved."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sweep.cli import app as cli
from sweep.driver.create import NewRun, create_run
from sweep.storage.local import stored_at
from sweep.study import AskedTrial, StudyOwner
from tests.selector.data.builders import rl_data, store
from tests.sweep.broken.builders import (
    cut,
    native,
)
from tests.sweep.broken.commands import KL, lines, refused
from tests.sweep.plans import plan_of_space
from tests.sweep.spaces import SMALL, context, trial


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one complete trial, made without Ray."""
    folder = tmp_path_factory.mktemp("good")
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(SMALL) | {"budget": {"trials": 2}}))
    plan = plan_of_space(file)
    paths = create_run(plan, NewRun(stored_at(folder), "mine"))
    owner = StudyOwner.open(f"sqlite:///{paths.study_file}", "mine", plan.space)
    asked = owner.ask()
    assert isinstance(asked, AskedTrial)
    results = list(trial(context(paths.root.local(), plan.dataset), plan.dataset, asked.number, asked.settings))
    for result in results:
        owner.report(0, result.report.step, result.report.val_loss)
    assert results[-1].best is not None
    owner.complete(0, results[-1].best.val_loss)
    owner.close()
    return paths.root.local()


def replace(file: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda run: (run / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def record(**changes: object) -> Callable[[Path], object]:
    """Changes keys of run.json; `...` removes one."""

    def change(run: Path) -> None:
        found = json.loads((run / "run.json").read_text()) | changes
        (run / "run.json").write_text(json.dumps({key: value for key, value in found.items() if value is not ...}))

    return change


def weights(run: Path) -> Path:
    return sorted(run.glob("trials/0000/best/step-*/model.safetensors"))[-1]


def no_study(run: Path) -> None:
    for file in run.glob("study.db*"):
        file.unlink()


def foreign_study(run: Path) -> None:
    no_study(run)
    with sqlite3.connect(run / "study.db") as database:
        database.execute("create table cats (name text)")
    database.close()


def no_database(run: Path) -> None:
    no_study(run)
    (run / "study.db").write_text("study\n" * 99)


def each(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda run: [change(file) for file in run.glob("trials/0000/best/*")]


ALL = ["status", "resume", "export", "verify"]
STUDY = ["status", "resume", "export"]
BROKEN_RUNS: dict[str, tuple[Callable[[Path], object], list[str], list[str]]] = {
    "run.json missing": (lambda run: (run / "run.json").unlink(), ALL, ["no run 'mine'", "runs in runs"]),
    "run.json cut": (cut("run.json"), ALL, ["runs/mine/run.json", "damaged", "EOF"]),
    "run.json empty": (replace("run.json", ""), ALL, ["runs/mine/run.json", "damaged"]),
    "run.json binary": (replace("run.json", b"\xff\xfe\0"), ALL, ["runs/mine/run.json", "damaged"]),
    "run.json a list": (replace("run.json", "[]"), ALL, ["runs/mine/run.json", "damaged"]),
    "run.json lacks a key": (record(data_fingerprint=...), ALL, ["run.json", "data_fingerprint", "required"]),
    "run.json of another version": (record(format="sweep-run/9"), ALL, ["run.json", "format", "'sweep-run/1'"]),
    "run.json has an unknown key": (record(colour="red"), ALL, ["run.json", "colour"]),
    "data altered": (record(data_fingerprint="0" * 64), ["resume", "verify"], ["data 0000000000000000", "restore"]),
    "data gone": (record(data="/nowhere/data"), ["resume", "verify"], ["/nowhere/data: no such file"]),
    "space.yaml missing": (
        lambda run: (run / "space.yaml").unlink(),
        ["resume", "verify"],
        ["runs/mine/space.yaml", "No such file"],
    ),
    "space.yaml broken": (
        replace("space.yaml", "name: [\n"),
        ["resume", "verify"],
        ["runs/mine/space.yaml:2:", "YAML"],
    ),
    "space.yaml binary": (replace("space.yaml", b"\xff\xfe"), ["resume", "verify"], ["runs/mine/space.yaml", "UTF-8"]),
    "study.db missing": (no_study, STUDY, ["mine/study.db"]),
    "study.db foreign": (foreign_study, ["status", "export"], ["mine/study.db", "has no study"]),
    "study of another space": (
        lambda run: replace("space.yaml", (run / "space.yaml").read_text().replace("0.01", "0.02"))(run),
        ["resume"],
        ["study 'mine'", "belongs to another search space: parameters.grpo.kl_beta.low: 0.01 -> 0.02"],
    ),
    "study.db not SQLite": (no_database, STUDY, ["mine/study.db", "not a database"]),
    "storage not a URL": (record(storage="study.db"), STUDY, ["'study.db' is not a URL", "sqlite:///"]),
    "study renamed": (record(study="other"), ["status", "export"], ["no study 'other'"]),
    "checkpoint cut": (
        lambda run: weights(run).write_bytes(weights(run).read_bytes()[:100]),
        ["export", "verify"],
        ["model.safetensors", "altered or damaged"],
    ),
    "checkpoint missing": (each(lambda step: (step / "model.safetensors").unlink()), ["export", "verify"], ["missing"]),
    "manifest cut": (each(cut("manifest.json")), ["export", "verify"], ["manifest.json", "not readable"]),
    "manifest of another program": (
        each(lambda step: (step / "manifest.json").write_text("{}")),
        ["export", "verify"],
        ["manifest.json", "'sweep-checkpoint/1'", "another program"],
    ),
    "config missing": (each(lambda step: (step / "config.json").unlink()), ["export", "verify"], ["config.json"]),
    "no checkpoint at all": (lambda run: shutil.rmtree(run / "trials"), ["export", "verify"], ["no stored epoch"]),
}


@pytest.mark.parametrize(
    ("name", "command"), [(name, command) for name, (_, commands, _) in BROKEN_RUNS.items() for command in commands]
)
def test_broken_run(
    name: str, command: str, good_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, _, fragments = BROKEN_RUNS[name]
    shutil.copytree(good_run, "runs/mine")
    damage(Path("runs/mine"))
    out = ["--out", "out"] if command == "export" else []
    refused(capsys, monkeypatch, [command, "mine", *out], fragments)
    assert not Path("out").exists()


def test_a_copied_run_reads_its_own_study(
    good_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its old place nor its old name is needed."""
    shutil.copytree(good_run, "runs/renamed")
    monkeypatch.setattr(sys, "argv", ["sweep", "status", "renamed"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code and "renamed: not finished; 1 complete" in capsys.readouterr().out
    no_study(Path("runs/renamed"))
    refused(capsys, monkeypatch, ["status", "renamed"], ["runs/renamed/study.db", "no such file"])


def test_a_run_in_a_folder_with_an_awkward_name(
    good_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a URL these characters mean something else."""
    shutil.copytree(good_run, "a b%41?x#y/mine")
    monkeypatch.setattr(sys, "argv", ["sweep", "status", "mine", "--runs", "a b%41?x#y"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code and "1 complete" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["space.yaml", "space.yaml/below", "full"])
def test_export_onto_something(
    target: str, good_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(good_run, "runs/mine")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    refused(capsys, monkeypatch, ["export", "mine", "--out", target], ["space.yaml" if "space" in target else "full"])
    assert Path("full/mine.txt").read_text() == "mine" and Path("space.yaml").is_file()


def test_the_tables_start_from_valid_input(
    good_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that each refusal is about the one thing that is broken."""
    store(Path("data"), rl_data())
    native(lambda folder: None)(Path("native"))
    Path("lines.yaml").write_text(lines(KL))
    shutil.copytree(good_run, "runs/mine")
    for arguments in (
        ["validate", "space.yaml"],
        ["validate", "lines.yaml"],
        ["validate", "space.yaml", "--data", "data"],
        ["validate", "space.yaml", "--data", "native"],
        ["status", "mine"],
        ["verify", "mine"],
        ["export", "mine", "--out", "out"],
    ):
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code, (arguments, capsys.readouterr())

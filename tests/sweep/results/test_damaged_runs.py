"""Export and verify on damaged runs: each is refused by name, and nothing is written."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from selector.errors import UserError
from sweep.results.export import export
from sweep.results.verify import verify
from sweep.runs.paths import RunPaths
from tests.sweep.plans import plan_of_run

Damage = Callable[[Path], object]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def each(name: str, change: Damage) -> Damage:
    """Change this file of every stored epoch."""
    return lambda run: [change(step / name) for step in run.glob("trials/0000/best/*")]


def record(**changes: object) -> Damage:
    def change(run: Path) -> None:
        (run / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | changes))

    return change


def study(content: bytes) -> Damage:
    def change(run: Path) -> None:
        for file in run.glob("study.db*"):
            file.unlink()
        if content:
            (run / "study.db").write_bytes(content)

    return change


def foreign_study(run: Path) -> None:
    study(b"")(run)
    with closing(sqlite3.connect(run / "study.db")) as database:
        database.execute("create table cats (name text)")


def space(content: bytes) -> Damage:
    return lambda run: (run / "space.yaml").write_bytes(content)


BOTH, EXPORT, VERIFY = ("export", "verify"), ("export",), ("verify",)
DAMAGED: dict[str, tuple[Damage, tuple[str, ...], list[str]]] = {
    "checkpoint cut": (each("model.safetensors", cut), BOTH, ["model.safetensors", "altered or damaged"]),
    "checkpoint altered": (each("model.safetensors", flip), BOTH, ["model.safetensors", "altered or damaged"]),
    "checkpoint missing": (each("model.safetensors", Path.unlink), BOTH, ["missing"]),
    "manifest cut": (each("manifest.json", cut), BOTH, ["manifest.json", "not readable"]),
    "manifest of another program": (
        each("manifest.json", lambda file: file.write_text("{}")),
        BOTH,
        ["manifest.json", "'sweep-checkpoint/1'", "another program"],
    ),
    "config missing": (each("config.json", Path.unlink), BOTH, ["config.json"]),
    "no checkpoint at all": (lambda run: shutil.rmtree(run / "trials"), EXPORT, ["no stored epoch"]),
    "no trial at all": (lambda run: shutil.rmtree(run / "trials"), VERIFY, ["trials/0000/epochs.jsonl: missing"]),
    "study missing": (study(b""), EXPORT, ["mine/study.db"]),
    "study foreign": (foreign_study, EXPORT, ["mine/study.db", "has no study"]),
    "study no database": (study(b"study\n" * 99), EXPORT, ["mine/study.db", "not a database"]),
    "study renamed": (record(study="other"), EXPORT, ["no study 'other'"]),
    "storage not a URL": (record(storage="study.db"), EXPORT, ["outside its folder, in 'study.db'", "--storage URL"]),
    "data altered": (record(data_fingerprint="0" * 64), VERIFY, ["data: data_fingerprint:", 'right: "000000000']),
    "data gone": (record(data="/nowhere/data"), VERIFY, ["/nowhere/data: no such file"]),
    "space missing": (lambda run: (run / "space.yaml").unlink(), VERIFY, ["space.yaml", "No such file"]),
    "space broken": (space(b"name: [\n"), VERIFY, ["space.yaml:2:", "YAML"]),
    "space binary": (space(b"\xff\xfe"), VERIFY, ["space.yaml", "UTF-8"]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_run_is_refused(name: str, good_run: RunPaths, tmp_path: Path) -> None:
    damage, readers, fragments = DAMAGED[name]
    paths, out = RunPaths.at(tmp_path / "mine"), tmp_path / "out"
    shutil.copytree(good_run.root.local(), tmp_path / "mine")
    damage(tmp_path / "mine")
    for reader in readers:
        if reader == "export":
            with pytest.raises((UserError, OSError)) as caught:
                export(paths, "best", out)
            message = str(caught.value)
        else:
            message = said_by_verify(paths)
        assert "\n" not in message and len(message) < 900
        for fragment in fragments:
            assert fragment in message, f"{fragment!r} is not in {message!r}"
    assert not out.exists()


def said_by_verify(paths: RunPaths) -> str:
    """What differs. Where nothing does, why nothing could be computed again."""
    try:
        found = verify(paths, plan_of_run)
    except (UserError, OSError) as error:
        return str(error)
    assert found.faults
    return " | ".join([*(fault.sentence for fault in found.faults), *found.notes])


@pytest.mark.parametrize("target", ["file", "file/below", "full"])
def test_export_onto_something(target: str, good_run: RunPaths, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises((UserError, OSError)):
        export(good_run, "best", tmp_path / target)
    assert (tmp_path / "full" / "note").read_text() == "mine" and (tmp_path / "file").read_text() == "mine"

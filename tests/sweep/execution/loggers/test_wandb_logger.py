"""What is in the files that W&B keeps offline, which `wandb sync` sends."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.api import load_run
from sweep.errors import RunError
from sweep.execution.loggers.follow import Ending, Followed, Loggers
from sweep.execution.loggers.wandb_logger import WandbLogger
from sweep.runs.paths import RunPaths
from sweep.settings.loggers import WandbSettings
from tests.sweep.execution.loggers.replay import replay, results_of

BLOCK = 32768


@pytest.fixture(scope="module")
def logged(finished: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """All records by the name of the W&B run, in order."""
    folder = tmp_path_factory.mktemp("wandb")
    run = Followed("mine", "0123", finished.shown, {"name": "world"}, folder)
    lines: list[str] = []
    with Loggers([WandbLogger(WandbSettings(mode="offline"))], lines.append) as loggers:
        replay(finished, loggers.follow(run))
        loggers.end(Ending("finished", "a verdict", results_of(finished)))
    assert lines == []
    found = {}
    for file in folder.glob("wandb/offline-run-*/*.wandb"):
        records = ended(file)
        (begun,) = (one.run for one in records if one.HasField("run"))
        assert (begun.project, begun.run_group) == ("demonstration-sweep", "mine")
        found[begun.display_name] = records
    return found


def ended(file: Path) -> list[Any]:
    """All records of a run that has ended. W&B's own process writes them, and may still do so."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        records = list(read(file))
        if any(one.HasField("exit") for one in records):
            return records
        time.sleep(0.05)
    raise AssertionError(f"{file} has no end")


def read(file: Path) -> Iterator[Any]:
    """The records of a file: a log of LevelDB's format in blocks, behind a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def last(records: list[Any], field: str) -> dict[str, Any]:
    """The newest values of the records `config` or `summary`."""
    values: dict[str, Any] = {}
    for one in records:
        for updated in (getattr(one, field), getattr(one.run, field)):
            for item in updated.update:
                values[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return values


def test_trials_are_runs_of_one_group_with_their_parameters(logged: dict[str, list[Any]], finished: RunPaths) -> None:
    trials = load_run(finished.shown).trials
    assert set(logged) == {"mine", *(f"trial-{row.number:04d}" for row in trials)}
    for row in trials:
        records = logged[f"trial-{row.number:04d}"]
        config = last(records, "config")
        assert {path: config[path] for path in row.params} == row.params and config["trial"] == row.number
        summary = last(records, "summary")
        assert (summary["best_val_loss"], summary["best_epoch"]) == (pytest.approx(row.reached[0]), row.reached[1])
        assert summary["state"] == row.state_name


def test_the_curves_are_those_of_the_trials(logged: dict[str, list[Any]], finished: RunPaths) -> None:
    for number, rows in load_run(finished.shown).curves().groupby("trial"):
        read = {}
        for one in logged[f"trial-{number:04d}"]:
            values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in one.history.item}
            if values:
                read[values["_step"]] = values["val_loss"]
        assert read == pytest.approx(rows.set_index("step")["val_loss"].to_dict()), number


def test_the_final_tables_are_an_artifact_of_the_sweeps_run(logged: dict[str, list[Any]], finished: RunPaths) -> None:
    (artifact,) = (one.artifact for one in logged["mine"] if one.HasField("artifact"))
    assert {entry.path for entry in artifact.manifest.contents} == set(results_of(finished))
    assert last(logged["mine"], "summary")["verdict"] == "a verdict"


def test_a_missing_key_is_said_before_anything_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(RunError, match="W&B has no key: run `wandb login` once, set WANDB_API_KEY, or set"):
        WandbLogger(WandbSettings())
    monkeypatch.setenv("WANDB_MODE", "offline")
    WandbLogger(WandbSettings())

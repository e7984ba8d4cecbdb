"""Broken input through the command line: one clear line, exit code 2, and nothing has been started.

The same kinds, and more of them, are checked where they are found in `tests/selector/data/test_broken_input.py` and
`tests/sweep/space/test_broken_spaces.py`; here it is what a person sees.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from selector.data import DataSettings, Split, load
from selector.data.native import write_native
from sweep import cli, runner
from sweep.plan import make_plan
from sweep.runner import create_run
from sweep.study import AskedTrial, StudyOwner
from tests.selector.data.builders import embeddings, rl_data, store
from tests.sweep.spaces import SMALL, context, trial

TINY = {
    "name": "tiny",
    "data": {"demo": {"items": 200, "queries": 30}},
    "trial": {"model": {"hidden": 8, "heads": 2}, "rce": {"epochs": 1}, "grpo": {"epochs": 1}},
    "budget": {"trials": 2},
}


@pytest.fixture(autouse=True)
def nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own, and a command that gets as far as the trials fails it."""

    def started(*arguments: object) -> None:
        raise AssertionError("trials were started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "_train", started)
    Path("space.yaml").write_text(yaml.safe_dump(TINY))


def refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], fragments: list[str]
) -> None:
    """The command ends with code 2 and one `error:` line that holds all fragments."""
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    assert stopped.value.code == 2, captured
    assert captured.out == "" or arguments[0] == "resume", "nothing is printed before the checks have passed"
    message = captured.err
    assert message.startswith("error: ") and message.count("error:") == 1, message
    assert message.endswith("\n") and message.count("\n") == 1, message
    assert "Traceback" not in message and len(message) < 600, message
    for fragment in fragments:
        assert fragment in message, f"{fragment!r} is not in {message!r}"


# --- Spaces -----------------------------------------------------------------------------------------------------------


def space(**changes: object) -> str:
    return yaml.safe_dump({**TINY, **changes})


def lines(*more: str) -> str:
    """A small valid space of four lines, and more below it."""
    return "name: x\nbudget: {trials: 1}\ndata: {demo: {items: 200, queries: 30}}\nparameters:\n" + "\n".join(more)


KL = "  grpo.kl_beta: {type: float, low: 0.01, high: 0.5}"
BROKEN_SPACES: dict[str, tuple[str | bytes, list[str]]] = {
    "not YAML": ("name: [1, 2\n", ["bad.yaml:2:", "not valid YAML"]),
    "a tab": ("name: x\n\tseed: 1\n", ["bad.yaml:2:", "not valid YAML"]),
    "empty": ("", ["bad.yaml:1:", "must be a mapping"]),
    "a list": ("- 1\n", ["bad.yaml:1:", "must be a mapping"]),
    "binary": (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", ["bad.yaml:1:", "not UTF-8"]),
    "zero bytes": (b"\0" * 64, ["bad.yaml:1:", "not valid YAML"]),
    "a data file": (b'{"8": ' + b"1" * 2_000_000, ["bad.yaml", "this is no search space"]),
    "code": ("name: !!python/object/apply:os.getcwd []\n", ["bad.yaml:1:", "is not read"]),
    "key twice": (lines(KL, KL), ["bad.yaml:6:", "given twice, first on line 5"]),
    "unknown section": (space(parametres={}), ["unknown key 'parametres'", "'parameters'"]),
    "unknown key": (space(budget={"trails": 3}), ["budget.trails", "'trials'"]),
    "unknown trial setting": (space(trial={"grpo": {"kl_bta": 1}}), ["trial.grpo.kl_bta", "'kl_beta'"]),
    "unknown parameter": (lines("  grpo.lrate: 1"), ["bad.yaml:5:", "grpo.lrate: no such setting", "'grpo.lr'"]),
    "unknown parameter type": (lines("  grpo.lr: {type: loguniform, low: 1, high: 2}"), ["'loguniform'", "float"]),
    "low above high": (lines("  grpo.lr: {type: float, low: 1, high: 0.1}"), ["low 1.0 is not below high 0.1"]),
    "log from zero": (lines("  grpo.lr: {type: float, low: 0, high: 1, log: true}"), ["log: true needs low above 0"]),
    "negative learning rate": (lines("  grpo.lr: {type: float, low: -1, high: 1}"), ["grpo.lr.low", "-1.0 is refused"]),
    "no high": (lines("  grpo.lr: {type: float, low: 0.1}"), ["grpo.lr.high: is missing"]),
    "unknown mode": (
        lines("  reward.mode: {type: categorical, choices: [hard_only, hard_sof]}"),
        ["'hard_sof' is refused by reward.mode", "hard_plus_soft"],
    ),
    "swept validation": (
        lines("  validation.tau: {type: float, low: 0.1, high: 1}"),
        ["bad.yaml:5:", "validation", "cannot be sampled"],
    ),
    "swept data": (lines("  data.split.val: 0.2"), ["data is not part of a trial"]),
    "enqueue unknown": (lines(KL, "enqueue: [{grpo.lr: 0.1}]"), ["enqueue[0].grpo.lr", "no parameter of this space"]),
    "enqueue out of range": (lines(KL, "enqueue: [{grpo.kl_beta: 7}]"), ["enqueue[0]", "7", "it takes 0.01 to 0.5"]),
    "circle of conditions": (
        lines(
            "  grpo.lr: {type: categorical, choices: [1, 2], when: {rce.lr: 1}}",
            "  rce.lr: {type: categorical, choices: [1, 2], when: {grpo.lr: 1}}",
        ),
        ["circle", "grpo.lr -> rce.lr -> grpo.lr"],
    ),
    "impossible condition": (
        lines(KL[:-1] + ", when: {grpo.ppo_clip_only: true}}"),
        ["grpo.ppo_clip_only", "can never hold"],
    ),
    "text for a number": (space(seed="three"), ["seed: should be a valid integer", "'three'"]),
    "yes for true": (
        "name: x\ntrial: {grpo: {freeze_backbone: yes}}\n",
        ["bad.yaml:2:", "freeze_backbone", "booleans are true and false"],
    ),
    "a list for a section": (space(trial=[1]), ["trial"]),
    "no end": (space(budget={"trials": None}), ["budget: nothing ends the sweep", "set trials, hours"]),
    "budget null": (space(budget=None), ["budget"]),
    "no trial": (space(budget={"trials": 0}), ["budget.trials", "greater than or equal to 1", "got 0"]),
    "no hour": (space(budget={"hours": 0}), ["budget.hours", "greater than 0"]),
    "no name": ("seed: 1\n", ["name: is missing"]),
    "name leads away": (space(name="../x"), ["name: ", "'../x'"]),
    "1.5 GPUs": (space(resources={"gpus": 1.5}), ["resources.gpus", "use 1, 2, or at most 1"]),
    "heads do not divide": (space(trial={"model": {"hidden": 8, "heads": 3}}), ["hidden 8", "heads 3"]),
    "unknown decoder": (space(trial={"model": {"decoder": "gated"}}), ["'gated' is not one of", "'gate'"]),
    "grid of a range": (lines(KL, "sampler: {type: grid}"), ["continuous, which a grid cannot enumerate"]),
    "unknown sampler": (space(sampler={"type": "bayes"}), ["sampler", "unknown type 'bayes'", "tpe"]),
    "unknown pruner": (space(pruner={"type": "medium"}), ["pruner", "unknown type 'medium'", "'median'"]),
    "not a number": ("name: x\nvalidation: {tau: .nan}\n", ["bad.yaml:2:", "validation.tau", "finite"]),
    "splits fill all": (space(data={"split": {"val": 0.5, "test": 0.5}}), ["data.split", "leave nothing to train on"]),
    "no validation": (
        space(data={**TINY["data"], "split": {"val": 0}}),  # type: ignore[dict-item]
        ["split.val is 0", "use a share above 0"],
    ),
    "demo too small": (space(data={"demo": {"queries": 2}}), ["data.demo.queries", "20", "got 2"]),
    "more queries than items": (space(data={"demo": {"items": 200, "queries": 300}}), ["queries 300", "items 200"]),
    "mode without its outcome": (
        space(trial={"reward": {"mode": "legacy"}}),
        ["demo data: reward mode legacy needs beam_score"],
    ),
    "swept mode without its outcome": (
        lines("  reward.mode: {type: categorical, choices: [hard_plus_soft, legacy]}"),
        ["demo data: reward mode legacy needs beam_score"],
    ),
    "missing data": (space(data={"path": "nowhere"}), ["nowhere: no such file"]),
    "embeddings without data": (space(data={"embeddings": "e.pth"}), ["data", "'e.pth'", "without path"]),
}


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize("name", BROKEN_SPACES)
def test_broken_space(
    name: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, fragments = BROKEN_SPACES[name]
    Path("bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(capsys, monkeypatch, [command, "bad.yaml"], fragments)
    assert not Path("runs").exists()


# --- Data -------------------------------------------------------------------------------------------------------------

Prepare = Callable[[Path], object]


def beam(field: str, value: object) -> Prepare:
    """Beam 1 of query 3 has this value in this field."""

    def prepare(folder: Path) -> None:
        data = rl_data()
        data["3"]["pointer_candidates"][1][field] = value
        store(folder, data)

    return prepare


def entry(field: str, value: object) -> Prepare:
    """Query 3 has this value in this field."""

    def prepare(folder: Path) -> None:
        data = rl_data()
        data["3"][field] = value
        store(folder, data)

    return prepare


def pointing(*picks: int) -> Prepare:
    """Beam 1 of query 3 points at these positions."""

    def prepare(folder: Path) -> None:
        data = rl_data()
        pool = data["3"]["candidate_pool_ids"]
        data["3"]["pointer_candidates"][1] |= {
            "pointer": list(picks),
            "pointer_global": [pool[pick] if pick < len(pool) else 29 for pick in picks],
        }
        store(folder, data)

    return prepare


def text(content: str | bytes) -> Prepare:
    return lambda folder: store(folder, content)


def without_column(column: str) -> Prepare:
    def prepare(folder: Path) -> None:
        data = rl_data()
        for query in data.values():
            for one in query["pointer_candidates"]:
                del one[column]
        store(folder, data)

    return prepare


def alike(split: Split) -> Prepare:
    """All beams of this split's queries have the same outcomes."""

    def prepare(folder: Path) -> None:
        data = rl_data()
        found = load(DataSettings(path=store(folder, data)))
        for query in found.query_items[found.indices(split)]:
            for one in data[str(query)]["pointer_candidates"]:
                one |= {"vqa_correct": 0, "vqa_acc_score": 0.0}
        store(folder, data)

    return prepare


def table(file: str, write: Callable[[io.BytesIO], object], keep: int | None = None) -> Prepare:
    """Valid RL data beside this embedding file, of which only the first bytes are kept."""

    def prepare(folder: Path) -> None:
        store(folder, rl_data())
        (folder / "embeddings.pth").unlink()
        buffer = io.BytesIO()
        write(buffer)
        (folder / file).write_bytes(buffer.getvalue()[:keep])

    return prepare


def native(change: Callable[[Path], object]) -> Prepare:
    """Data in native form, changed after it was written."""

    def prepare(folder: Path) -> None:
        data = load(DataSettings(path=store(folder.parent / "source", rl_data())))
        write_native(data, folder, "test")
        change(folder)

    return prepare


def column(file: str, name: str, change: Callable[[list[Any]], object]) -> Callable[[Path], None]:
    """Replaces a column of a Parquet file, keeping its type."""

    def rewrite(folder: Path) -> None:
        found = pq.read_table(folder / file)
        values = found.column(name).to_pylist()
        change(values)
        index = found.column_names.index(name)
        pq.write_table(found.set_column(index, name, pa.array(values, found.schema.field(name).type)), folder / file)

    return rewrite


def cut(file: str, share: float = 0.5) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(
        (folder / file).read_bytes()[: int((folder / file).stat().st_size * share)]
    )


def spoilt(value: float) -> torch.Tensor:
    rows = embeddings()
    rows[7, 2] = value
    return rows


GOOD = json.dumps(rl_data())
BROKEN_DATA: dict[str, tuple[Prepare, list[str]]] = {
    # JSON
    "pointer out of range": (
        pointing(0, 6),
        ["data/rl_data.json", "query 3", "pointer of beam 1", "position 6", "expected 0 to 5"],
    ),
    "negative pointer": (beam("pointer", [-1, 2]), ["rl_data.json", "query 3", "pointer of beam 1", "position -1"]),
    "repeated pick": (pointing(2, 2), ["query 3", "pointer of beam 1", "repeats a pick", "at most once"]),
    "unequal pick counts": (pointing(0, 1, 2), ["query 3", "pointer of beam 1", "3 picks", "has 2"]),
    "pointer is text": (beam("pointer", "0,1"), ["query 3", "pointer of beam 1", "list of integers"]),
    "pointer and ids disagree": (beam("pointer_global", [0, 29]), ["query 3", "pointer_global of beam 1", "says item"]),
    "NaN outcome": (beam("vqa_acc_score", float("nan")), ["query 3", "vqa_acc_score of beam 1", "finite"]),
    "infinite outcome": (beam("vqa_rel_score", float("inf")), ["query 3", "vqa_rel_score of beam 1", "finite"]),
    "outcome above 1": (beam("vqa_gt_prob", 55.85), ["query 3", "vqa_gt_prob of beam 1", "is 55.85", "0 to 1"]),
    "outcome is half": (beam("vqa_correct", 0.5), ["query 3", "vqa_correct of beam 1", "expected 0 or 1"]),
    "outcome is text": (beam("vqa_correct", "yes"), ["query 3", "vqa_correct of beam 1", "a number", "'yes'"]),
    "every beam alike in val": (alike(Split.VAL), ["no val group has beams of different reward", "data.split.val"]),
    "outcome missing once": (beam("vqa_gt_prob", None), ["query 3", "vqa_gt_prob of beam 1", "17 of 18 beams"]),
    "validation outcome missing": (
        without_column("vqa_correct"),
        ["data: reward mode hard_plus_soft needs vqa_correct"],
    ),
    "empty group": (entry("pointer_candidates", []), ["query 3", "pointer_candidates", "at least one beam"]),
    "empty pool": (entry("candidate_pool_ids", []), ["query 3", "candidate_pool_ids", "the pool is empty"]),
    "pool smaller than a beam": (entry("candidate_pool_ids", [0]), ["query 3", "pool of 1", "2 picks"]),
    "item twice in a pool": (entry("candidate_pool_ids", [0, 1, 2, 4, 5, 1]), ["query 3", "item 1 appears twice"]),
    "embeddings too short": (
        entry("candidate_pool_ids", [0, 1, 2, 4, 5, 40]),
        ["query 3", "embeddings too short", "embeddings.pth has 30 rows, 41 are needed"],
    ),
    "key twice": (text(GOOD[:-1] + ', "8": {}}'), ["rl_data.json", "the key '8' appears twice"]),
    "duplicate query": (
        text(GOOD[:-1] + ', "08": ' + json.dumps(rl_data()["8"]) + "}"),
        ["query 08", "'8' and '08' are the same query"],
    ),
    "not JSON": (text("query,pointer\n8,3\n"), ["rl_data.json", "not JSON at line 1, column 1"]),
    "truncated JSON": (text(GOOD[:-200]), ["rl_data.json", "truncated", "line 1"]),
    "empty file": (text(""), ["rl_data.json", "the file is empty"]),
    "binary file": (text(b"\x80\x04\x95\xff\xfe"), ["rl_data.json", "not UTF-8"]),
    "a list": (text("[1]"), ["rl_data.json", "expected an object"]),
    "no query": (text('{"_meta": {}}'), ["rl_data.json", "holds no query", "keys are item ids"]),
    "all measurements failed": (
        text(GOOD.replace('"eval_failed": false', '"eval_failed": true')),
        ["no query is left", "beams_left_out_eval_failed: 18"],
    ),
    # .pth
    "NaN in .pth": (
        table("embeddings.pth", lambda f: torch.save(spoilt(float("nan")), f)),
        ["data/embeddings.pth", "row 7"],
    ),
    "cut .pth": (table("embeddings.pth", lambda f: torch.save(embeddings(), f), 500), ["embeddings.pth", "damaged"]),
    "a dictionary in .pth": (
        table("embeddings.pth", lambda f: torch.save({"weight": embeddings()}, f)),
        ["embeddings.pth", "dictionary", "'weight'", "expected one tensor"],
    ),
    "objects in .pth": (table("embeddings.pth", lambda f: torch.save(io.StringIO, f)), ["Python objects"]),
    "one dimension in .pth": (table("embeddings.pth", lambda f: torch.save(torch.ones(30), f)), ["2 dimensions"]),
    "integers in .pth": (
        table("embeddings.pth", lambda f: torch.save(torch.ones(30, 4).int(), f)),
        ["int32", "floats"],
    ),
    "short .pth": (table("embeddings.pth", lambda f: torch.save(torch.ones(5, 4), f)), ["has 5 rows", "are needed"]),
    # .npy
    "infinity in .npy": (
        table("embeddings.npy", lambda f: np.save(f, spoilt(float("inf")))),
        ["embeddings.npy", "row 7"],
    ),
    "cut .npy": (table("embeddings.npy", lambda f: np.save(f, embeddings()), 200), ["embeddings.npy", "damaged"]),
    "objects in .npy": (
        table("embeddings.npy", lambda f: np.save(f, np.array([{}]), allow_pickle=True)),
        ["embeddings.npy", "Python objects"],
    ),
    "archive as .npy": (table("embeddings.npy", lambda f: np.savez(f, a=np.ones(3))), ["embeddings.npy", "archive"]),
    # Folders
    "no embeddings": (
        table("notes.txt", lambda f: f.write(b"")),
        ["data", "none of embeddings.pth", "the setting embeddings"],
    ),
    "empty folder": (lambda folder: folder.mkdir(), ["data", "neither rl_data.json"]),
    "a folder named like the file": (lambda folder: (folder / "rl_data.json").mkdir(parents=True), ["is a folder"]),
    "nothing there": (lambda folder: None, ["data: no such file"]),
    # Native
    "native without manifest": (
        native(lambda folder: (folder / "manifest.json").unlink()),
        ["manifest.json", "not written to its end"],
    ),
    "native table missing": (native(lambda folder: (folder / "beams.parquet").unlink()), ["beams.parquet", "no such"]),
    "native table cut": (native(cut("queries.parquet")), ["queries.parquet", "damaged"]),
    "native manifest cut": (native(cut("manifest.json")), ["manifest.json", "truncated"]),
    "native pick out of range": (
        native(column("beams.parquet", "picks", lambda rows: rows.__setitem__(4, [0, 6]))),
        ["data", "query 3", "picks of beam 1", "position 6"],
    ),
    "native outcome altered": (
        native(column("beams.parquet", "vqa_correct", lambda rows: rows.__setitem__(4, 1.0 - rows[4]))),
        ["data", "fingerprint", "import it again"],
    ),
    "native outcome NaN": (
        native(column("beams.parquet", "vqa_acc_score", lambda rows: rows.__setitem__(4, float("nan")))),
        ["data", "query 3", "vqa_acc_score of beam 1", "finite"],
    ),
    "native nulls": (
        native(column("beams.parquet", "vqa_correct", lambda rows: rows.__setitem__(4, None))),
        ["beams.parquet", "vqa_correct", "nulls"],
    ),
    "native query twice": (
        native(column("queries.parquet", "query_item", lambda rows: rows.__setitem__(1, rows[0]))),
        ["beams.parquet", "query 3 is not in queries.parquet"],
    ),
}


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize("name", BROKEN_DATA)
def test_broken_data(
    name: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, fragments = BROKEN_DATA[name]
    prepare(Path("data"))
    refused(capsys, monkeypatch, [command, "space.yaml", "--data", "data"], fragments)
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["pointer out of range", "cut .pth", "empty folder", "not JSON"])
def test_broken_data_is_not_imported(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, fragments = BROKEN_DATA[name]
    prepare(Path("data"))
    refused(capsys, monkeypatch, ["data", "import", "data", "--out", "native"], fragments)
    assert not Path("native").exists()


# --- Arguments --------------------------------------------------------------------------------------------------------

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


# --- Runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one complete trial, made without Ray."""
    folder = tmp_path_factory.mktemp("good")
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(SMALL) | {"budget": {"trials": 2}}))
    plan = make_plan(str(file))
    paths = create_run(plan, folder, "mine")
    owner = StudyOwner.open(f"sqlite:///{paths.study_file}", "mine", plan.space)
    asked = owner.ask()
    assert isinstance(asked, AskedTrial)
    results = list(trial(context(paths.root, plan.dataset), plan.dataset, asked.number, asked.settings))
    for result in results:
        owner.report(0, result.report.step, result.report.val_loss)
    assert results[-1].best is not None
    owner.complete(0, results[-1].best.val_loss)
    owner.close()
    return paths.root


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

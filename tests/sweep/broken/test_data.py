"""Training data that cannot be used."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from selector.data import Split
from tests.selector.data.builders import embeddings, rl_data
from tests.sweep.broken.builders import (
    Prepare,
    alike,
    beam,
    column,
    cut,
    entry,
    native,
    pointing,
    spoilt,
    table,
    text,
    without_column,
)
from tests.sweep.broken.commands import refused

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

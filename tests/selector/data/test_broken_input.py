"""One valid file, one thing broken: each gives one clear line that names the file, the query and the field.

Checks that all forms share are tested in `test_checks.py`; here it is what a reader checks, and what it calls things.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selector.data import DataSettings, load
from selector.data.native import write_native
from selector.errors import DataError
from tests.selector.data.builders import RlData, load_json, older_data, rl_data, store

Change = Callable[[RlData], object]


def set_beam(field: str, value: Any, query: str = "3", number: int = 1) -> Change:
    def change(data: RlData) -> None:
        data[query]["pointer_candidates"][number][field] = value

    return change


def set_entry(field: str, value: Any, query: str = "3") -> Change:
    return lambda data: data[query].__setitem__(field, value)


def without(field: str, query: str = "3", number: int = 1) -> Change:
    return lambda data: data[query]["pointer_candidates"][number].pop(field)


def point(*picks: int) -> Change:
    """Beam 1 of query 3 points at these positions; pointer_global agrees where it can."""

    def change(data: RlData) -> None:
        beam, pool = data["3"]["pointer_candidates"][1], data["3"]["candidate_pool_ids"]
        beam["pointer"] = list(picks)
        beam["pointer_global"] = [pool[pick] if 0 <= pick < len(pool) else 29 for pick in picks]

    return change


def all_beams(field: str, value: Any) -> Change:
    def change(data: RlData) -> None:
        for entry in data.values():
            for beam in entry["pointer_candidates"]:
                beam[field] = value

    return change


def only_ids(change: Change | None = None) -> Change:
    """Turn positions into item ids, the form without pointer_global."""

    def whole(data: RlData) -> None:
        for entry in data.values():
            for beam in entry["pointer_candidates"]:
                beam["pointer"] = beam.pop("pointer_global")
        if change:
            change(data)

    return whole


def both(first: Change, second: Change) -> Change:
    return lambda data: (first(data), second(data))


BROKEN_RL: dict[str, tuple[Change, tuple[str, ...]]] = {
    "position out of range": (point(0, 6), ("query 3", "pointer of beam 1", "position 6", "0 to 5")),
    "one pick more": (point(0, 1, 2), ("query 3", "pointer of beam 1", "3 picks", "has 2", "beam 0 of query 8")),
    "float pointer": (set_beam("pointer", [0, 1.0]), ("query 3", "pointer of beam 1", "integers", "1.0")),
    "bool pointer": (set_beam("pointer", [True, 0]), ("query 3", "pointer of beam 1", "integers", "True")),
    "text pointer": (set_beam("pointer", "0,1"), ("query 3", "pointer of beam 1", "list of integers", "'0,1'")),
    "huge pointer": (set_beam("pointer", [10**30, 1]), ("query 3", "pointer of beam 1", "an integer of 31 digits")),
    "no pointer": (without("pointer"), ("query 3", "pointer of beam 1", "missing")),
    "null pointer": (set_beam("pointer", None), ("query 3", "pointer of beam 1", "missing")),
    "global disagrees": (
        set_beam("pointer_global", [0, 29]),
        ("query 3", "pointer_global of beam 1", "says item 0", "is item 1"),
    ),
    "global too short": (set_beam("pointer_global", [0]), ("query 3", "pointer_global of beam 1", "holds 1")),
    "global is text": (set_beam("pointer_global", "x"), ("query 3", "pointer_global of beam 1", "list of integers")),
    "id not in pool": (
        only_ids(set_beam("pointer", [0, 25])),
        ("query 3", "pointer of beam 1", "item 25 is not in candidate_pool_ids"),
    ),
    "two contradicting pointers": (
        only_ids(set_beam("pointer_pos", [4, 5])),
        ("query 3", "beam 1", "pointer_pos", "differ"),
    ),
    "positions without pool": (
        lambda data: data["3"].pop("candidate_pool_ids"),
        ("query 3", "beam 0", "candidate_pool_ids is missing"),
    ),
    "pool has a duplicate": (
        set_entry("candidate_pool_ids", [0, 1, 2, 4, 5, 1]),
        ("query 3", "candidate_pool_ids", "item 1 appears twice"),
    ),
    "pool id beyond embeddings": (
        set_entry("candidate_pool_ids", [0, 1, 2, 4, 5, 40]),
        ("query 3", "candidate_pool_ids", "embeddings too short", "30 rows", "41 are needed", "embeddings.pth"),
    ),
    "pool is an object": (set_entry("candidate_pool_ids", {}), ("query 3", "candidate_pool_ids", "list of integers")),
    "pool of bools": (set_entry("candidate_pool_ids", [True] * 6), ("query 3", "candidate_pool_ids", "True")),
    "empty group": (set_entry("pointer_candidates", []), ("query 3", "pointer_candidates", "group is empty")),
    "group is text": (set_entry("pointer_candidates", "none"), ("query 3", "pointer_candidates", "list of beams")),
    "beam is a number": (
        lambda data: data["3"]["pointer_candidates"].__setitem__(1, 7),
        ("query 3", "beam 1", "expected an object, found 7"),
    ),
    "neither form": (lambda data: data["3"].pop("pointer_candidates"), ("query 3", "neither", "pointer_candidates")),
    "both forms": (set_entry("id_list", []), ("query 3", "both", "id_list")),
    "mixed forms": (
        lambda data: data.__setitem__("3", older_data()["3"]),
        ("query 3", "has id_list while earlier queries have pointer_candidates"),
    ),
    "entry is null": (lambda data: data.__setitem__("3", None), ("query 3", "expected an object, found None")),
    "same query twice": (lambda data: data.__setitem__("03", data["3"]), ("query 03", "'3' and '03'", "same query")),
    "negative query": (lambda data: data.__setitem__("-3", data["3"]), ("query -3", "no item id")),
    "endless query id": (
        lambda data: data.__setitem__("9" * 5000, data["3"]),
        ("query 999999999999999999...", "no item id"),
    ),
    "correct is text": (set_beam("vqa_correct", "yes"), ("query 3", "vqa_correct of beam 1", "a number", "'yes'")),
    "acc above 1": (set_beam("vqa_acc_score", 1.1), ("query 3", "vqa_acc_score of beam 1", "is 1.1", "0 to 1")),
    "acc is NaN": (set_beam("vqa_acc_score", float("nan")), ("query 3", "vqa_acc_score of beam 1", "nan", "finite")),
    "acc is bool": (set_beam("vqa_acc_score", True), ("query 3", "vqa_acc_score of beam 1", "a number", "True")),
    "rel is a list": (set_beam("vqa_rel_score", [0.5]), ("query 3", "vqa_rel_score of beam 1", "a number", "[0.5]")),
    "score too large for float32": (all_beams("beam_score", 1e300), ("query 8", "beam_score of beam 0", "inf")),
    "score is a huge integer": (
        set_beam("vqa_rel_score", 10**400),
        ("query 3", "vqa_rel_score of beam 1", "an integer of 401 digits"),
    ),
    "column missing once": (
        without("vqa_gt_prob"),
        ("query 3", "vqa_gt_prob of beam 1", "17 of 18 beams", "all beams or for none"),
    ),
    "column null once": (set_beam("vqa_correct", None), ("query 3", "vqa_correct of beam 1", "17 of 18 beams")),
    "eval_failed is text": (set_beam("eval_failed", "no"), ("query 3", "eval_failed of beam 1", "true or false")),
    "eval mode is a number": (set_beam("vqa_eval_mode", 3), ("query 3", "vqa_eval_mode of beam 1", "a text")),
    "all beams failed": (all_beams("eval_failed", True), ("no query is left", "beams_left_out_eval_failed: 18")),
    "too few queries": (
        lambda data: [data.pop(key) for key in ("8", "21", "5", "13")],
        ("2 usable queries", "train, val and test"),
    ),
    "only metadata": (
        lambda data: (data.clear(), data.update({"_meta": {"version": 1}})),
        ("holds no query", "keys are item ids"),
    ),
}

BROKEN_OLDER: dict[str, tuple[Change, tuple[str, ...]]] = {
    "does not end with the query": (
        lambda data: data["3"]["id_list"].__setitem__(1, [0, 1, 2]),
        ("query 3", "id_list of beam 1", "own id 3", "[0, 1, 2]"),
    ),
    "empty row": (lambda data: data["3"]["id_list"].__setitem__(1, []), ("query 3", "id_list of beam 1", "own id 3")),
    "empty older group": (
        lambda data: data["3"].update(id_list=[], score_list=[]),
        ("query 3", "id_list", "group is empty"),
    ),
    "score missing": (lambda data: data["3"]["score_list"].pop(), ("query 3", "score_list", "2 scores for 3 beams")),
    "no scores": (lambda data: data["3"].pop("score_list"), ("query 3", "score_list", "expected a list, found None")),
    "score null": (
        lambda data: data["3"]["score_list"].__setitem__(1, None),
        ("query 3", "score_list of beam 1", "a number"),
    ),
    "older picks unequal": (
        lambda data: data["3"]["id_list"].__setitem__(1, [0, 3]),
        ("query 3", "id_list of beam 1", "1 picks", "has 2"),
    ),
    "older ids are text": (
        lambda data: data["3"].__setitem__("id_list", "ids"),
        ("query 3", "id_list", "expected a list, found 'ids'"),
    ),
}

GOOD = json.dumps(rl_data())
BROKEN_TEXT: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "truncated on line 3": (json.dumps(rl_data(), indent=1)[:20], ("truncated", "line 3, column 11")),
    "not JSON": ("query,pointer\n8,3\n", ("not JSON", "line 1, column 1")),
    "comma at the end": ('{"8": [1,]}', ("not JSON", "line 1")),
    "two documents": (GOOD + GOOD, ("not JSON", "Extra data")),
    "a list": ("[1, 2]", ("expected an object, found [1, 2]",)),
    "a number": ("7", ("expected an object, found 7",)),
    "empty": ("", ("file is empty",)),
    "blank": (" \n\t\n", ("file is empty",)),
    "not UTF-8": (GOOD.encode().replace(b"cat", b"c\xe4t", 1), ("not UTF-8", "byte")),
    "UTF-16": (GOOD.encode("utf-16"), ("not UTF-8",)),
    "nested too deeply": ('{"8": ' + "[" * 100_000, ("nested too deeply",)),
    "key twice": (GOOD[:-1] + ', "8": {}}', ("the key '8' appears twice",)),
    "field twice": (
        GOOD.replace('"vqa_correct": 1', '"vqa_correct": 1, "vqa_correct": 0', 1),
        ("query 8", "beam 0", "the key 'vqa_correct' appears twice"),
    ),
    "NaN literal": (
        GOOD.replace('"vqa_gt_prob": 0.25', '"vqa_gt_prob": NaN', 1),
        ("query 8", "vqa_gt_prob of beam 0"),
    ),
    "-Infinity literal": (
        GOOD.replace('"vqa_rel_score": -0.5', '"vqa_rel_score": -Infinity', 1),
        ("query 8", "vqa_rel_score of beam 0", "-inf"),
    ),
    "overflowing number": (
        GOOD.replace('"vqa_gt_prob": 0.25', '"vqa_gt_prob": 1e999', 1),
        ("query 8", "vqa_gt_prob of beam 0", "inf"),
    ),
    "integer of 5000 digits": (
        GOOD.replace('"vqa_gt_prob": 0.25', '"vqa_gt_prob": ' + "7" * 5000, 1),
        ("query 8", "vqa_gt_prob of beam 0", "an integer of 5000 digits"),
    ),
}


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def table(row: int, value: float) -> torch.Tensor:
    found = torch.ones(30, 4)
    found[row] = value
    return found


BROKEN_TABLES: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "NaN row": ("embeddings.pt", saved(lambda f: torch.save(table(7, float("nan")), f)), ("row 7", "finite")),
    "infinite row": ("embeddings.npy", saved(lambda f: np.save(f, table(29, float("inf")).numpy())), ("row 29",)),
    "too large for float32": ("embeddings.npy", saved(lambda f: np.save(f, np.full((30, 4), 1e60))), ("row 0", "inf")),
    "zero row in use": ("embeddings.pth", saved(lambda f: torch.save(table(3, 0.0), f)), ("row 3", "all zero", "quer")),
    "vanishing row": (
        "embeddings.pth",
        saved(lambda f: torch.save(table(3, 1e-30), f)),
        ("row 3", "is too small for float32"),
    ),
    "one dimension": ("embeddings.pth", saved(lambda f: torch.save(torch.ones(30), f)), ("2 dimensions", "[30]")),
    "three dimensions": ("embeddings.npy", saved(lambda f: np.save(f, np.ones((30, 1, 4)))), ("[30, 1, 4]",)),
    "no columns": ("embeddings.pth", saved(lambda f: torch.save(torch.ones(30, 0), f)), ("no columns",)),
    "integers": ("embeddings.pth", saved(lambda f: torch.save(torch.ones(30, 4).long(), f)), ("torch.int64", "floats")),
    "numpy integers": ("embeddings.npy", saved(lambda f: np.save(f, np.ones((30, 4), int))), ("int64", "floats")),
    "sparse": ("embeddings.pth", saved(lambda f: torch.save(torch.eye(30).to_sparse(), f)), ("dense tensor",)),
    "dictionary": (
        "embeddings.pth",
        saved(lambda f: torch.save({"state_dict": torch.ones(30, 4)}, f)),
        ("dictionary", "'state_dict'"),
    ),
    "dictionary with a gap": (
        "embeddings.pth",
        saved(lambda f: torch.save({row: torch.ones(4) for row in range(30) if row != 8}, f)),
        ("29 rows without row 8",),
    ),
    "dictionary of widths": (
        "embeddings.pth",
        saved(lambda f: torch.save({row: torch.ones(4 + row // 29) for row in range(30)}, f)),
        ("widths (4 and 5)",),
    ),
    "dictionary of integers": (
        "embeddings.pth",
        saved(lambda f: torch.save({row: torch.ones(4).long() for row in range(30)}, f)),
        ("row 0", "vector of floats"),
    ),
    "dictionary that claims more than it holds": (
        "embeddings.pth",
        saved(lambda f: torch.save({row: torch.ones(1).expand(4) for row in range(30)}, f)),
        ("row 0", "contiguous"),
    ),
    "list of tensors": ("embeddings.pth", saved(lambda f: torch.save([torch.ones(4)], f)), ("holds a list",)),
    "objects": ("embeddings.pth", saved(lambda f: torch.save(io.StringIO, f)), ("Python objects", "plain tensor")),
    "object array": (
        "embeddings.npy",
        saved(lambda f: np.save(f, np.array([{}, 1], dtype=object), allow_pickle=True)),
        ("Python objects",),
    ),
    "archive": ("embeddings.npy", saved(lambda f: np.savez(f, a=np.ones(3))), ("archive",)),
    "cut torch file": ("embeddings.pth", saved(lambda f: torch.save(torch.ones(30, 4), f))[:600], ("damaged",)),
    "cut numpy file": ("embeddings.npy", saved(lambda f: np.save(f, np.ones((30, 4))))[:200], ("damaged",)),
    "empty torch file": ("embeddings.pth", b"", ("damaged",)),
    "text": ("embeddings.npy", b"0.1 0.2 0.3", (".npy",)),
}


def refused(settings: DataSettings, file: str, expected: tuple[str, ...]) -> str:
    with pytest.raises(DataError) as caught:
        load(settings)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    for part in (file, *expected):
        assert part in message, f"{part!r} is not in {message!r}"
    return message


@pytest.mark.parametrize("name", BROKEN_RL)
def test_broken_rl_data(name, tmp_path):
    change, expected = BROKEN_RL[name]
    data = rl_data()
    change(data)
    refused(DataSettings(path=store(tmp_path, data)), "rl_data.json", expected)


@pytest.mark.parametrize("name", BROKEN_OLDER)
def test_broken_older_data(name, tmp_path):
    change, expected = BROKEN_OLDER[name]
    data = older_data()
    change(data)
    refused(DataSettings(path=store(tmp_path, data)), "rl_data.json", expected)


@pytest.mark.parametrize("name", BROKEN_TEXT)
def test_broken_text(name, tmp_path):
    text, expected = BROKEN_TEXT[name]
    refused(DataSettings(path=store(tmp_path, text)), "rl_data.json", expected)


@pytest.mark.parametrize("name", BROKEN_TABLES)
def test_broken_embeddings(name, tmp_path):
    file, content, expected = BROKEN_TABLES[name]
    path = store(tmp_path, rl_data())
    (tmp_path / "embeddings.pth").unlink()
    (tmp_path / file).write_bytes(content)
    refused(DataSettings(path=path), file, expected)


def test_the_tables_start_from_valid_data(tmp_path):
    assert load_json(tmp_path / "rl", rl_data()).queries == 6
    assert load_json(tmp_path / "older", older_data()).queries == 6
    assert load_json(tmp_path / "text", GOOD).queries == 6
    assert load_json(tmp_path / "ids", (data := rl_data(), only_ids()(data))[0]).queries == 6
    assert load_json(tmp_path / "table", rl_data(), table(29, 0.0)).queries == 6  # a zero row that nobody uses


def test_files_that_are_not_there(tmp_path):
    path = store(tmp_path / "data", rl_data())
    refused(DataSettings(path=tmp_path / "none.json"), "none.json", ("no such file",))
    refused(DataSettings(path=path / "x.json"), "x.json", ("no such file",))
    refused(DataSettings(path=path / "below" / "x.json"), "x.json", ("no such file",))
    refused(DataSettings(path=Path("/dev/null")), "/dev/null", ("not a regular file",))
    refused(DataSettings(path=tmp_path / "a\0b"), "b", ("cannot be read",))
    refused(DataSettings(path=tmp_path / "a\nb.json"), "a\\nb.json", ("no such file",))
    refused(DataSettings(path=path, embeddings=tmp_path / "none.pth"), "none.pth", ("no such file",))
    refused(DataSettings(path=path, embeddings=tmp_path), tmp_path.name, ("embeddings end in .pth",))
    (tmp_path / "folder.npy").mkdir()
    refused(DataSettings(path=path, embeddings=tmp_path / "folder.npy"), "folder.npy", ("is a folder",))
    (tmp_path / "data" / "embeddings.pth").unlink()
    refused(DataSettings(path=path), "data", ("none of embeddings.pth, embeddings.pt, embeddings.npy",))
    (tmp_path / "empty" / "rl_data.json").mkdir(parents=True)
    refused(DataSettings(path=tmp_path / "empty"), "empty", ("is a folder",))
    (tmp_path / "empty" / "rl_data.json").rmdir()
    refused(DataSettings(path=tmp_path / "empty"), "empty", ("neither rl_data.json",))


def test_ambiguous_folders(tmp_path):
    path = store(tmp_path, rl_data())
    (tmp_path / "embeddings.npy").write_bytes(b"")
    refused(DataSettings(path=tmp_path), tmp_path.name, ("embeddings.pth, embeddings.npy", "name one"))
    path.rename(tmp_path / "a.json")
    (tmp_path / "b.json").write_text(GOOD)
    refused(DataSettings(path=tmp_path), tmp_path.name, ("several JSON files", "a.json, b.json"))


def test_native_data_refuses_other_embeddings(tmp_path):
    data = load_json(tmp_path / "json", rl_data())
    write_native(data, tmp_path / "native", "test")
    settings = DataSettings(path=tmp_path / "native", embeddings=tmp_path / "json" / "embeddings.pth")
    refused(settings, "native", ("embeddings", "holds its own"))

"""`--json`: one document on stdout and nothing else, with the fields of docs/json.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sweep.report.documents import document_text
from sweep.runs.paths import RunPaths
from tests.sweep.commands import Command

PAGE = Path(__file__).resolve().parents[3] / "docs" / "json.md"
SPACE = "name: x\ndata: {demo: {items: 200, queries: 30}}\nstorage: sqlite:///secret.db\n"


def fields(command: str) -> set[str]:
    """The first column of a command's table in the page."""
    section = PAGE.read_text().split(f"## `{command} --json`")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def document(command: Command, *arguments: str) -> dict[str, object]:
    code, out, error = command(*arguments, "--json")
    assert code == 0 and error == ""
    found = json.loads(out)
    assert set(found) == fields(arguments[0])
    assert isinstance(found, dict)
    return found


def test_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SPACE)
    found = document(command, "validate", "s.yaml", "--set", "budget.trials=3")
    assert found["valid"] is True and found["set"] == ["budget.trials=3"] and found["collect"] is None
    data, settings = found["data"], found["settings"]
    assert isinstance(data, dict) and isinstance(settings, dict)
    assert data["queries"] == {"train": 20, "val": 5, "test": 5} and "vqa_correct" in data["outcomes"]
    assert settings["budget"]["trials"] == 3 and "secret" not in json.dumps(found)
    described = re.findall(r"`(\w+)`", PAGE.read_text().split("| `data` |")[1].split("\n")[0])
    assert set(data) <= set(described)


def test_validate_of_a_space_whose_data_is_to_be_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    small = "items={demo: {demonstrations: 200, train: 4, val: 2, test: 2, smallest_pool: 16, largest_pool: 20}}"
    found = document(command, "validate", "spaces/grpo.yaml", "--set", small)
    collect = found["collect"]
    assert isinstance(collect, dict) and found["data"] is None
    assert collect["queries"] == {"train": 4, "val": 2, "test": 2} and collect["model"] == "demo"


def test_export_and_verify(good_run: RunPaths, tmp_path: Path, command: Command) -> None:
    runs = str(good_run.root.local().parent)
    found = document(command, "export", "mine", "--runs", runs, "--out", str(tmp_path / "out"))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (found["trial"], found["epoch"], found["manifest"]) == (0, manifest["step"], manifest)
    verified = document(command, "verify", "mine", "--runs", runs)
    assert verified["agrees"] is True and verified["epochs"] and verified["rows"] == []


def test_an_error_is_a_line_on_stderr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, error = command("validate", "nothing.yaml", "--json")
    assert (code, out) == (2, "") and error.startswith("error: search space 'nothing.yaml' does not exist")


def test_numbers_that_are_none_are_null() -> None:
    text = document_text({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (float("-inf"),)}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": [None]}}

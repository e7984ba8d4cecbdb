"""What guided fuzzing has found, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selector.errors import CheckpointError
from sweep.errors import RunError, StudyError
from sweep.evaluation.records import read_evaluation
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from sweep.study.storage import existing_study, open_storage, without_password
from sweep.trials.checkpoints import FORMAT, MANIFEST_FILE, read_manifest
from sweep.trials.finalists import Finalist, ended
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.checkpoint import ModelError, check_checkpoint
from tests.fuzz.builders import ASKED, make_answers, make_evaluation
from tests.sweep.spaces import SETTINGS


def test_a_part_with_a_damaged_column_name_is_skipped(tmp_path: Path) -> None:
    part = make_answers(tmp_path)
    (tmp_path / "part-1.parquet").write_bytes(part.read_bytes().replace(b"prompt_tokens", b"prompt\xa4tokens"))
    store = AnswerStore(stored_at(tmp_path))
    assert set(store.lookup(ASKED)) == set(ASKED)
    assert [file.name for file in store.skipped] == ["part-1.parquet"]


def test_a_stored_epoch_is_no_warm_up(tmp_path: Path) -> None:
    folder = tmp_path / "best" / "step-0001"
    stored_at(folder / MANIFEST_FILE).write_json({"format": FORMAT, "kind": "rce"})
    with pytest.raises(CheckpointError, match="kind is not 'epoch'"):
        read_manifest(stored_at(folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": []}, "rows are missing"),
        ({"shots": [1]}, "shots are not those"),
        ({"winner": {"row": "x"}}, "a row is named"),
        ({"rows": {"shots": []}}, "other numbers of shots"),
        ({"rows": {"other_metrics": {}}}, "different metrics"),
    ],
)
def test_an_evaluation_that_contradicts_itself_is_damaged(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    content = make_evaluation().model_dump(mode="json")
    for name, value in changes.items():
        if isinstance(value, dict):
            (content[name][-1] if name == "rows" else content[name]).update(value)
        else:
            content[name] = value
    file = stored_at(tmp_path / "evaluation.json")
    file.write_json(content)
    with pytest.raises(RunError, match=f"damaged.*{said}"):
        read_evaluation(file)


@pytest.mark.parametrize("content", [b"[]", b"3", b"[" * 100_000])
def test_a_finalist_with_a_damaged_result_has_not_ended(tmp_path: Path, content: bytes) -> None:
    paths, one = RunPaths.at(tmp_path), Finalist(0, SETTINGS)
    paths.finalist(0, one.seed).result_file.write_bytes(content)
    assert ended(paths, one) is None


@pytest.mark.parametrize("url", ["postgresql+psycopg://u:secret@host:port/db", "sqlite://h:x/db", "sqlite:///a\0b"])
def test_a_storage_that_is_no_url(url: str) -> None:
    with pytest.raises(StudyError) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value) and "secret" not in without_password(url)
    with pytest.raises(StudyError):
        existing_study(url, "x")


def test_a_nested_configuration_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps("x").join(["[" * 100_000, ""]))
    with pytest.raises(ModelError, match="not readable JSON"):
        check_checkpoint(tmp_path)

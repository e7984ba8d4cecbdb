"""The record of a run: damaged and foreign ones are refused, and a run may be copied and renamed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import RunError
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths, sqlite_url
from sweep.runs.record import read_record
from sweep.storage.local import stored_at
from sweep.study import read_summaries

VALID: dict[str, Any] = {
    "format": "sweep-run/1",
    "space": {},
    "data": None,
    "embeddings": None,
    "data_fingerprint": "0" * 64,
    "study": "mine",
    "storage": None,
    "versions": {},
}


def record(**changes: object) -> bytes:
    """A valid record with changed keys; `...` removes one."""
    return json.dumps({key: value for key, value in (VALID | changes).items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (record()[:50], "EOF"),
        (b"", "EOF"),
        (b"\xff\xfe\0", "JSON"),
        (b"[]", "object"),
        (record(data_fingerprint=...), "data_fingerprint: Field required"),
        (record(format="sweep-run/9"), "format: .*'sweep-run/1'"),
        (record(colour="red"), "colour: "),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    paths = RunPaths.at(tmp_path)
    paths.run_file.write_bytes(record())
    assert read_record(paths).study == "mine"
    paths.run_file.write_bytes(content)
    with pytest.raises(RunError, match=rf"run\.json: damaged.*{said}"):
        read_record(paths)
    paths.run_file.local().unlink()
    with pytest.raises(RunError, match=r"not a run folder \(run.json is missing\)"):
        read_record(paths)


@pytest.mark.parametrize("folder", ["runs/renamed", "a b%41?x#y/mine"])
def test_a_copied_run_reads_its_own_study(
    folder: str, good_run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its old place nor its old name is needed. In a URL, some characters mean something else."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(good_run.root.local(), folder)
    paths = find_run(Path(folder).name, stored_at(Path(folder).parent))
    found = read_record(paths)
    assert [row.is_complete for row in read_summaries(found.storage_url(paths), found.study)] == [True]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql+psycopg://me:s3c?ret@db.example:5432/runs?sslmode=require",
            "postgresql+psycopg://db.example:5432/runs",
        ),
        ("postgresql://me:s3c/ret@db.example/runs", "postgresql://db.example/runs"),
        ("postgresql://db.example/runs?password=s3c@ret", "postgresql://db.example/runs"),
        ("mysql://me@db.example/runs", "mysql://db.example/runs"),
        ("sqlite:////elsewhere/study.db", "sqlite:////elsewhere/study.db"),
        ("sqlite:///{folder}/../other/study.db", "/other/study.db"),
        ("sqlite:///{folder}/study.db?mode=memory&uri=true", "/mine/study.db"),
        ("study.db", "'study.db'"),
    ],
)
def test_a_study_outside_the_folder_is_refused_without_its_password(tmp_path: Path, url: str, shown: str) -> None:
    (tmp_path / "mine").mkdir()
    paths = RunPaths.at(tmp_path / "mine")
    paths.run_file.write_bytes(record(storage=url.replace("{folder}", str(tmp_path / "mine"))))
    with pytest.raises(RunError, match="keeps its study outside its folder") as refused:
        read_record(paths).storage_url(paths)
    assert f"{shown}. A record" in str(refused.value)
    assert not [word for word in ("s3c", "ret@", "me:", "sslmode") if word in str(refused.value)]
    named = RunPaths(paths.root, "postgresql://mine/runs")
    assert read_record(paths).storage_url(named) == "postgresql://mine/runs"


@pytest.mark.parametrize("name", ["study.db", "kept/study.db", "a%41 b.db"])
def test_a_study_inside_the_folder_is_used_wherever_the_folder_is(tmp_path: Path, name: str) -> None:
    file = tmp_path / "mine" / name
    file.parent.mkdir(parents=True)
    paths = RunPaths.at(tmp_path / "mine")
    paths.run_file.write_bytes(record(storage=sqlite_url(file)))
    assert read_record(paths).storage_url(paths) == sqlite_url(file)

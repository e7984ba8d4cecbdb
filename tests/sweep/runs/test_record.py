"""The record of a run: damaged and foreign ones are refused, and a run may be copied and renamed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import RunError
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths
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

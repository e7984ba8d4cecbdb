"""Where a run must not lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.driver.session import is_in_job_folder
from sweep.storage.local import stored_at


@pytest.mark.parametrize(
    ("working", "runs", "expected"),
    [
        ("ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1", "runs/small-1", True),
        ("ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1", "{tmp}/runs/small-1", False),
        ("project", "runs/small-1", False),
    ],
)
def test_the_working_folder_of_a_ray_job_is_known(
    working: str, runs: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / working).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / working)
    assert is_in_job_folder(stored_at(Path(runs.format(tmp=tmp_path)))) is expected

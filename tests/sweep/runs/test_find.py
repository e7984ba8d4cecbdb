"""What is said of a run, or of runs, that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.errors import RunError
from sweep.runs.find import find_run
from sweep.storage.open import open_folder
from tests.s3 import S3Server


@pytest.mark.parametrize("asked", ["s3://swepes/runs/mine", "mine", None])
def test_a_bucket_that_does_not_exist_is_named(s3: S3Server, cache: Path, asked: str | None) -> None:
    with pytest.raises(RunError, match=r"^s3://swepes/runs(/mine)?: its bucket does not exist"):
        find_run(asked, open_folder("s3://swepes/runs"))


def test_an_empty_folder_in_a_bucket_has_no_runs(uri: str) -> None:
    folder = open_folder(uri)
    with pytest.raises(RunError, match=f"^no runs in {uri}: start one"):
        find_run(None, folder)
    with pytest.raises(RunError, match=f"^no run 'mine'; runs in {uri}: none$"):
        find_run("mine", folder)
    with pytest.raises(RunError, match=f"^{uri}/mine: no run there$"):
        find_run(f"{uri}/mine", open_folder("runs"))

"""What is said of a run, or of runs, that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.errors import RunError
from sweep.runs.find import find_run
from sweep.storage import mirror
from tests.s3 import S3Server


@pytest.mark.parametrize("asked", ["s3://swepes/runs/mine", "mine", None])
def test_a_bucket_that_does_not_exist_is_named(s3: S3Server, asked: str | None) -> None:
    with pytest.raises(RunError, match=r"^s3://swepes/runs(/mine)?: its bucket does not exist"):
        find_run(asked, mirror.folder_of("s3://swepes/runs"))


def test_an_empty_folder_in_a_bucket_has_no_runs(uri: str) -> None:
    folder = mirror.folder_of(uri)
    with pytest.raises(RunError, match=f"^no runs in {uri}: start one"):
        find_run(None, folder)
    with pytest.raises(RunError, match=f"^no run 'mine'; runs in {uri}: none$"):
        find_run("mine", folder)
    with pytest.raises(RunError, match=f"^{uri}/mine: no run there$"):
        find_run(f"{uri}/mine", Path("runs"))

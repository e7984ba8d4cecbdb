"""What a machine must have for Ray, and what people are told where it has not."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from sweep.errors import ClusterError
from sweep.execution.ray import limits
from sweep.execution.ray.limits import MIB, OPEN_FILES, Store, check_open_files, object_store

FILES = Path("/scratch/r")


@pytest.mark.parametrize("hard", [resource.RLIM_INFINITY, OPEN_FILES, 1_048_576])
def test_enough_open_files(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.resource, "getrlimit", lambda which: (64, hard))  # Ray raises the soft one
    check_open_files()


def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.resource, "getrlimit", lambda which: (64, OPEN_FILES - 1))
    with pytest.raises(ClusterError, match=f"may have {OPEN_FILES - 1} files open here.*needs {OPEN_FILES}.*ulimit -n"):
        check_open_files()


@pytest.mark.parametrize(
    ("data", "free", "expected"),
    [
        (MIB, 1024 * MIB, Store(256 * MIB, None)),
        (500 * MIB, 2048 * MIB, Store(1000 * MIB, None)),
        (MIB, 100 * MIB, Store(90 * MIB, None)),  # what the data needs, and Ray's least, still fit
        (500 * MIB, 900 * MIB, Store(810 * MIB, None)),
        (MIB, 64 * MIB, Store(256 * MIB, FILES)),  # a container as Docker makes it
        (500 * MIB, 700 * MIB, Store(1000 * MIB, FILES)),
        (MIB, 0, Store(256 * MIB, FILES)),
        (MIB, None, Store(256 * MIB, FILES)),
    ],
)
def test_the_object_store_fits_or_is_in_files_and_that_is_said(data: int, free: int | None, expected: Store) -> None:
    said: list[str] = []
    assert object_store(data, free, FILES, said.append) == expected
    assert bool(said) is (expected.folder is not None)
    for line in said:
        assert "/dev/shm has" in line and "--shm-size" in line and str(FILES) in line

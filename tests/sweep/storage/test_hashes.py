"""Hashes of files and values. Their values are fixed in `tests/test_fixed_values.py`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweep.storage import hashes
from sweep.storage.hashes import canonical_hash, file_hash, remembered_file_hash


def test_a_remembered_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def counted(file: Path) -> str:
        reads.append(file)
        return file_hash(file)

    monkeypatch.setattr(hashes, "file_hash", counted)
    file, link = tmp_path / "weights", tmp_path / "link"
    file.write_bytes(b"one")
    link.symlink_to(file)
    first = remembered_file_hash(file)
    assert first == file_hash(file) == remembered_file_hash(link) and len(reads) == 1
    file.write_bytes(b"two")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert remembered_file_hash(file) == file_hash(file) != first and len(reads) == 2


def test_the_order_of_keys_does_not_count_and_nan_is_refused() -> None:
    assert canonical_hash({"a": 1, "b": 2}) == canonical_hash({"b": 2, "a": 1}) != canonical_hash({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_hash([float("nan")])

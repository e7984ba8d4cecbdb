"""Files that are not what their name says: pointers of Git LFS, and what other systems leave between the files."""

from __future__ import annotations

from pathlib import Path

LFS_MARK = b"version https://git-lfs.github.com/spec/v1"
LFS_PROBLEM = "is a Git LFS pointer and not the file that it stands for; run `git lfs pull` in its repository"


def lfs_problem(file: Path | bytes | bytearray) -> str | None:
    """What is wrong with a file, or with its first bytes, if Git LFS has left a pointer in its place.

    A file that cannot be read has another problem, which its reader names.
    """
    if isinstance(file, bytes | bytearray):
        return LFS_PROBLEM if file.startswith(LFS_MARK) else None
    try:
        with file.open("rb") as stream:
            start = stream.read(len(LFS_MARK))
    except (OSError, ValueError):
        return None
    return LFS_PROBLEM if start == LFS_MARK else None


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is nobody's: hidden ones, and what macOS packs beside each file."""
    return name.startswith(".") or name == "__MACOSX"

"""A real file system of a few pages, to be filled to the last byte."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs. `fill` takes what is free but some pages, `free` gives it back."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ballast = root / "ballast"

    def fill(self, pages: int = 0) -> None:
        system = os.statvfs(self.root)
        with self._ballast.open("ab") as file, suppress(OSError):
            os.posix_fallocate(
                file.fileno(), 0, self._ballast.stat().st_size + system.f_bsize * max(0, system.f_bavail - pages)
            )
        if not pages:
            with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"x" * 512)

    def free(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount one at a new folder; skips the test where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a file system can only be mounted as root")
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)

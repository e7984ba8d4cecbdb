"""What paths to other machines have in common: the working copy that each of them has on this one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweep.storage.local import LocalPath, stored_at
from sweep.storage.path import StoredPath


@dataclass(frozen=True, repr=False)
class CopiedPath(StoredPath):
    """A file or folder elsewhere.

    Attributes:
        scratch: the folder of this machine for working copies.
    """

    is_remote = True
    scratch: Path

    @property
    def _key(self) -> str:
        return str(self.path)

    @property
    def _copy(self) -> LocalPath:
        return stored_at(self.scratch / self.path)

    def forget(self) -> None:
        """The next `local` fetches it anew."""
        self._copy.remove()

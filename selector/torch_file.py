"""What a file of `torch.save` claims, looked at before torch reads it.

torch keeps tensors as plain bytes in a ZIP archive. A packed entry comes from elsewhere, and may unpack to a thousand
times its size. The layout is that of PKWARE's APPNOTE, sections 4.3.12 to 4.3.16.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from selector.files import lfs_problem

_END, _END_64, _ENTRY = b"PK\x05\x06", b"PK\x06\x06", b"PK\x01\x02"
_LONGEST_END = 2**16 + 22


def torch_problem(path: Path) -> str | None:
    """Why a file should not be given to `torch.load`. Raises OSError."""
    if problem := lfs_problem(path):
        return problem
    return None if is_plain(path) else "is a packed or damaged archive, and none of torch.save, which packs nothing"


def is_plain(path: Path) -> bool:
    """Whether no entry of an archive is packed. True for files that are no archives. Raises OSError."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return True
        size = file.seek(0, 2)
        file.seek(max(0, size - _LONGEST_END))
        tail = file.read()
        at = tail.rfind(_END)
        if at < 0 or len(tail) < at + 22:
            return False
        length, start = struct.unpack_from("<II", tail, at + 12)
        at = tail.rfind(_END_64, 0, at)
        if 0 <= at <= len(tail) - 56:
            length, start = struct.unpack_from("<QQ", tail, at + 40)
        if start + length > size:
            return False
        file.seek(start)
        return all(method == 0 for method in _methods(file.read(length)))


def _methods(directory: bytes) -> Iterator[int]:
    """How each entry is packed. 0 is not at all; what cannot be read counts as packed."""
    at = 0
    while at < len(directory):
        if directory[at : at + 4] != _ENTRY or len(directory) < at + 46:
            yield -1
            return
        yield struct.unpack_from("<H", directory, at + 10)[0]
        at += 46 + sum(struct.unpack_from("<HHH", directory, at + 28))

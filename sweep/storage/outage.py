"""Failures of the storage below a run. They say nothing about a configuration: the run stops, and can be resumed."""

from __future__ import annotations

import errno

OUTAGES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})


def is_outage(error: BaseException) -> bool:
    """Whether an error means that nothing can be stored any more: disk full, quota used up, file system gone."""
    return isinstance(error, OSError) and error.errno in OUTAGES


def told(error: OSError) -> str:
    """What the system says, with the file where it is known."""
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror or error}"

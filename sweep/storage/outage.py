"""Failures of the storage below a run. They say nothing about a configuration: the run stops, and can be resumed."""

from __future__ import annotations

import errno

OUTAGES = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT,  # full
        errno.EACCES, errno.EPERM, errno.EROFS,  # not to be written, or read, any more
        errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO,  # gone
    }
)  # fmt: skip


def is_outage(error: BaseException) -> bool:
    """Whether an error means that nothing can be stored any more: full, permission lost, or file system gone."""
    return isinstance(error, OSError) and error.errno in OUTAGES


def describe_os_error(error: OSError) -> str:
    """What the system says, with the file where it is known."""
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror or error}"

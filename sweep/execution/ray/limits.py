"""What a Ray on this machine needs of it: open files, shared memory, a home. Checked before Ray fails of it."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sweep.errors import ClusterError

OPEN_FILES = 256
"""On two cores Ray's control service had 55 files open and its raylet 49 (docs/log.md); each worker adds some."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (looked at only)
SMALLEST_STORE = 256 * 1024**2
RAYS_SMALLEST_STORE = 75 * 1024**2  # `OBJECT_STORE_MINIMUM_MEMORY_BYTES` in Ray
MIB = 1024**2


def check_open_files() -> None:
    """Refuse a limit on open files with which Ray cannot start. Ray raises the soft limit up to the hard one.

    Raises:
        ClusterError: the hard limit is too low.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES:
        raise ClusterError(
            f"a process may have {hard} files open here, and Ray needs {OPEN_FILES} or more: raise the limit "
            "(`ulimit -n 8192`; `docker run --ulimit nofile=8192`; LimitNOFILE= of a systemd unit)"
        )


@dataclass(frozen=True)
class Store:
    """Where Ray's object store gets its room.

    Attributes:
        size: bytes.
        folder: of files; None: shared memory.
    """

    size: int
    folder: Path | None


def object_store(data_bytes: int, free: int | None, files: Path, say: Callable[[str], None]) -> Store:
    """Decide on the object store, in which all trials share the training data.

    Args:
        data_bytes: size of the data.
        free: bytes of shared memory; None: there is none.
        files: where files would lie.
        say: told when shared memory is too small for the data.
    """
    wanted = max(SMALLEST_STORE, 2 * data_bytes)
    least = max(RAYS_SMALLEST_STORE, data_bytes + data_bytes // 2)
    if free is not None and free >= wanted:
        return Store(wanted, None)
    if free is not None and free * 9 // 10 >= least:
        return Store(free * 9 // 10, None)
    say(
        f"{SHARED_MEMORY} has {'no' if free is None else free // MIB} MiB free and the training data needs "
        f"{least // MIB}: Ray keeps it in files below {files}, which is slower. `docker run --shm-size` gives a "
        "container more"
    )
    return Store(wanted, files)


def shared_memory() -> int | None:
    """Free bytes of shared memory. None: there is none that this user may use."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize if os.access(SHARED_MEMORY, os.W_OK) else None

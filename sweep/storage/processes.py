"""Telling one process from all that had or will have its number, on this machine and elsewhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any


def this_process() -> dict[str, Any]:
    """What tells this process from every other one: host, number, and since when; JSON values."""
    return {"host": socket.gethostname(), **_process(os.getpid())}


def is_here(holder: Mapping[str, Any]) -> bool:
    """Whether it is, or was, a process of this machine since it was switched on, and of this container."""
    here = {"host": socket.gethostname(), "boot": _boot(), "pids": _pids()}
    return None not in here.values() and all(holder.get(name) == value for name, value in here.items())


def is_same_machine(holder: Mapping[str, Any]) -> bool:
    """Whether it is, or was, a process of this machine since it was switched on, be it in another container."""
    return _boot() is not None and holder.get("boot") == _boot()


def is_dead_here(holder: Mapping[str, Any]) -> bool:
    """Whether it was a process of this machine, and of this container, and is no more."""
    pid = holder.get("pid")
    if not is_here(holder) or not isinstance(pid, int) or pid <= 0 or _started(pid) == holder.get("started"):
        return False
    return not _is_somebody_elses(pid)


def _is_somebody_elses(pid: int) -> bool:
    """Whether a process exists of which we may learn nothing, because `/proc` hides those of other users."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return _started(pid) is None
    except (ProcessLookupError, OverflowError):
        return False
    return False


def _process(pid: int) -> dict[str, Any]:
    return {"pid": pid, "pids": _pids(), "boot": _boot(), "started": _started(pid)}


def _pids() -> str | None:
    """The namespace that process numbers belong to: containers have their own, also with the host's name."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (no path: pid:[4026531836])
    except OSError:
        return None


def _boot() -> str | None:
    """Identity of this machine since it was switched on. None where the system does not tell."""
    return _text("/proc/sys/kernel/random/boot_id")


def _started(pid: int) -> str | None:
    """When a process was started; None if there is none, or the system does not tell."""
    status = _text(f"/proc/{pid}/stat")
    # The name, in parentheses, may hold spaces. A zombie (state Z) holds nothing any more.
    fields = status.rpartition(")")[2].split() if status else []
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else None


def _text(file: str) -> str | None:
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            return stream.read().strip()
    except OSError:
        return None

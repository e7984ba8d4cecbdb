"""Ray's temporary folder: one for each Ray that is started here, for its owner alone, gone with it.

Ray opens its own folder and all that is in it to every user of the machine: sockets, logs, and code that it runs. So
this folder, which nobody else may enter, stands around Ray's.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from sweep.errors import ClusterError
from sweep.storage.outage import describe_os_error

PREFIX = "sweep-"
RAYS = "r"
ALIVE = ".alive"
LONGEST_SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/dash_MetricsHead"
SOCKET_PATH = 107  # bytes that a path of a socket may have, on Linux
ROOM = SOCKET_PATH - len(f"/{PREFIX}12345678/{RAYS}/{LONGEST_SOCKET}")
"""Characters that the folder around it may have."""


@dataclass(frozen=True)
class RayFolder:
    """A private folder, which lives as long as this process holds its lock.

    Attributes:
        path: for what is ours.
        rays: inside, for Ray.
    """

    path: Path
    lock: FileLock

    @property
    def rays(self) -> Path:
        """What Ray is given as its temporary folder."""
        return self.path / RAYS

    def remove(self) -> None:
        """Remove it, as far as that is possible."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.lock.release()


def make_folder(environment: Mapping[str, str], say: Callable[[str], None] = lambda line: None) -> RayFolder:
    """Make one, where `RAY_TMPDIR` or `TMPDIR` says or below /tmp, and remove those of drivers that were killed.

    Args:
        environment: the variables.
        say: told of a place that was named and cannot be used.

    Raises:
        ClusterError: none of the places can be used.
    """
    problems: list[str] = []
    for variable, place in _places(environment):
        try:
            remove_abandoned(place)
            folder = _made(place)
        except OSError as error:
            problems.append(f"{variable}{place}: {_reason(error, place)}")
            continue
        if problems:
            say(f"{'; '.join(problems)}. Ray's temporary files go below {place} instead")
        return folder
    raise ClusterError(
        f"Ray has no place for its sockets and logs: {'; '.join(problems)}. Set TMPDIR to a folder on a local disk in "
        f"which you may write, with a path of at most {ROOM} characters"
    )


def _places(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        if environment.get(variable):
            yield f"{variable}=", Path(environment[variable]).absolute()
    yield "", Path("/tmp")  # noqa: S108 (what is made there is private)


def _reason(error: OSError, place: Path) -> str:
    if "too long" in str(error):
        return f"its path has {len(str(place))} characters, and the sockets in it leave room for {ROOM}"
    return describe_os_error(OSError(error.errno, error.strerror)) if error.strerror else str(error)


def _made(place: Path) -> RayFolder:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))  # mode 700
        lock = FileLock(path / ALIVE)
        try:
            lock.acquire(timeout=0)
            _check_sockets(path)
        except (Timeout, FileNotFoundError):  # taken for abandoned before it was locked
            lock.release()
            continue
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            lock.release()
            raise
        return RayFolder(path, lock)


def _check_sockets(path: Path) -> None:
    """Bind a socket with a path as long as Ray's longest. Some file systems have none."""
    (path / RAYS).mkdir()
    file = path / RAYS / LONGEST_SOCKET.replace("/", "_")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(str(file))
    file.unlink()


def remove_abandoned(place: Path) -> None:
    """Remove the folders of this user's drivers that were killed. A living one holds its lock."""
    for path in place.glob(f"{PREFIX}????????"):
        try:
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or not (path / ALIVE).is_file():
                continue
            with FileLock(path / ALIVE, timeout=0):
                shutil.rmtree(path, ignore_errors=True)
        except (Timeout, OSError):  # in use, or just being removed by another driver
            continue

"""Put in front of PYTHONPATH by `tests.chaos.writes`: counts the writes of all processes of a run, and kills one of
them right before or after the write that it was told. Does nothing without its environment variables.

A write is what makes something visible to others: a rename below the run's folder, or a commit of the study.
"""

import fcntl
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

Write = Callable[..., Any]

ROOT, COUNTER, AT, WHEN = (os.environ.get(f"SWEEP_CHAOS_{name}", "") for name in ("ROOT", "COUNTER", "AT", "WHEN"))


def _number(what: str) -> int:
    """Number of this write among those of all processes, from 1."""
    with Path(COUNTER).open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        number = sum(1 for _ in stream) + 1
        stream.write(f"{what}\n")
        stream.flush()
    return number


def _around(write: Write, what: str, *arguments: Any, **options: Any) -> Any:
    number = _number(what)
    mine = number == int(AT)
    if mine and WHEN == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = write(*arguments, **options)
    if mine:
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def _rename(original: Write) -> Write:
    def rename(source: Any, target: Any, **options: Any) -> Any:
        place = Path.cwd() / os.fspath(target)
        # Not ours, or Tune's, which nothing reads, or the driver's sign of life, which comes by the clock.
        if Path(ROOT) not in place.parents or "tune" in place.parts or place.name == "driver.json":
            return original(source, target, **options)
        return _around(original, f"rename {place.relative_to(ROOT)}", source, target, **options)

    return rename


class _Connection(sqlite3.Connection):
    def commit(self) -> None:
        if self.in_transaction:
            _around(super().commit, "commit")
        else:
            super().commit()


def _connect(original: Write) -> Write:
    def connect(database: Any, *arguments: Any, **options: Any) -> Any:
        if str(database).endswith("study.db") and len(arguments) < 5:
            options.setdefault("factory", _Connection)
        return original(database, *arguments, **options)

    return connect


if ROOT:
    os.rename, os.replace = _rename(os.rename), _rename(os.replace)
    sqlite3.connect = sqlite3.dbapi2.connect = _connect(sqlite3.connect)

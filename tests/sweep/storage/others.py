"""Other processes of this machine, which do what they are asked to and can be killed.

They come from a server that has imported everything, so that one starts in milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from filelock import Timeout

from sweep.storage.lease import Lease
from sweep.storage.location import Location, is_uri
from sweep.storage.open import open_folder, open_run_folder
from sweep.storage.path import Lock, StoredPath
from sweep.storage.remote_files import LAST, RemoteFiles
from tests.sweep.storage.systems import local_store

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])
SECONDS = 60
KEPT: dict[str, Any] = {}
"""What a process goes on to hold."""


class Other:
    """A process with the environment that this one has now."""

    def __init__(self) -> None:
        self._connection, there = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(there, dict(os.environ)), daemon=True)
        self.process.start()
        there.close()

    def begin(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have it call a function of a module."""
        self._connection.send((work, arguments))

    def answer(self) -> Any:
        """What the function has returned."""
        assert self._connection.poll(SECONDS), "no answer"
        fine, result = self._connection.recv()
        if not fine:
            raise result
        return result

    def ask(self, work: Callable[..., Any], *arguments: Any) -> Any:
        self.begin(work, *arguments)
        return self.answer()

    def kill(self) -> None:
        """By SIGKILL."""
        self.process.kill()
        self.process.join()


def _serve(connection: Connection, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    while True:
        try:
            work, arguments = connection.recv()
        except EOFError:
            sys.exit()
        try:
            connection.send((True, work(*arguments)))
        except Exception as error:  # told where it was asked for
            connection.send((False, error))


@contextmanager
def others(count: int) -> Iterator[list[Other]]:
    started = [Other() for _ in range(count)]
    try:
        yield started
    finally:
        for one in started:
            one.kill()


def take_over(held: Lease, content: bytes) -> None:
    """Write into a lease until its holder has noticed: what comes between its look and its beat is overwritten."""
    until = time.monotonic() + SECONDS
    while not held.lost:
        assert time.monotonic() < until, "still held"
        held._files.write(held._key, content)
        time.sleep(3 * held._beat)


def store_at(address: str) -> RemoteFiles:
    return RemoteFiles.open(Location.of(address)) if is_uri(address) else local_store(Path(address))


def step(folder: StoredPath, content: str = "weights", *, complete: bool = True) -> StoredPath:
    with folder.new_folder() as temporary:
        (temporary / "model").write_text(content)
        if complete:
            (temporary / LAST).write_text("{}")
    return folder


# What they are asked for ----------------------------------------------------------------------------------------------


def take(address: str, key: str, beat: float, patience: float, settle: float, at: float = 0.0) -> bool:
    """Try to take a lease, at a time that several processes agree on."""
    lease = Lease(store_at(address), key, beat, patience, settle)
    time.sleep(max(0.0, at - time.time()))
    try:
        lease.acquire(timeout=0)
    except Timeout:
        return False
    KEPT["lease"] = lease
    return True


def still_has_it() -> bool:
    return "lease" in KEPT and not KEPT["lease"].lost


def let_go() -> None:
    if "lease" in KEPT:
        KEPT.pop("lease").release()


def hold(place: str) -> bool:
    """Try to take a lock, with a lease that is quick."""
    lock = quick(open_run_folder(place).lock())
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    KEPT["lock"] = lock
    return True


def quick(lock: Lock) -> Lock:
    if isinstance(lock, Lease):
        lock._beat = lock._settle = 0.1
    return lock


def claim(place: str, at: float) -> bool:
    """Try to have a folder, at a time that several processes agree on."""
    folder = open_run_folder(place)
    time.sleep(max(0.0, at - time.time()))
    return folder.claim({"one": str(os.getpid()), "two": str(os.getpid())})


def scratch(uri: str) -> str:
    """Have it work with a folder elsewhere, and tell where its copies are."""
    KEPT["folder"] = open_folder(uri)
    return str(KEPT["folder"].local())


def write(place: str, name: str, text: str) -> None:
    (open_folder(place) / name).write_text(text)


def write_folder(place: str, name: str, *files: str) -> None:
    with (open_folder(place) / name).new_folder() as folder:
        for file in (*files, LAST):
            (folder / file).write_text(f"{file} of {os.getpid()}")


def read(place: str, name: str) -> str | None:
    file = open_folder(place) / name
    return file.read_text() if file.exists() else None


def names(place: str, pattern: str) -> list[str]:
    root = open_folder(place)
    return [path.place.removeprefix(f"{root.place}/") for path in root.glob(pattern)]

"""A PostgreSQL server of the tests' own: a fresh cluster in a temporary folder, reachable from this machine only."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

PASSWORD = "s3cret/@word"


def binary(name: str) -> str | None:
    """Debian keeps the server's programs out of PATH."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


def unprivileged() -> str | None:
    """The server refuses to run as root; None: this user will do."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), "nobody")


@dataclass
class Server:
    folder: Path
    user: str | None
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, database: str = "postgres", password: str | None = PASSWORD) -> str:
        secret = "" if password is None else f":{quote(password, safe='')}"
        return f"postgresql+psycopg://sweeper{secret}@127.0.0.1:{self.port}/{database}"

    def run(self, *command: str) -> None:
        options = {} if self.user is None else {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid}
        subprocess.run(
            command, check=True, capture_output=True, cwd=self.folder, extra_groups=[] if options else None, **options
        )  # type: ignore[call-overload]

    def start(self) -> None:
        command = [str(binary("postgres")), "-D", str(self.folder / "data"), "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-k", str(self.folder), "-c", "fsync=off"]
        options = {} if self.user is None else {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                command, stdout=log, stderr=log, cwd=self.folder, extra_groups=[] if options else None, **options
            )
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                if "ready to accept" in (self.folder / "log").read_text():
                    return
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as a crash of the server."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None
            (self.folder / "log").write_text("")

    def create(self, database: str) -> str:
        """A new database; returns its URL."""
        import psycopg

        plain = self.url().replace("+psycopg", "")
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f'create database "{database}"')
        return self.url(database)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Start one; skips where there is no PostgreSQL."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    initdb = binary("initdb")
    if initdb is None or binary("postgres") is None:
        pytest.skip("no PostgreSQL server is installed here (initdb and postgres)")
    user = unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="sweep-postgres-"))  # not below pytest's folder, which is the user's alone
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = Server(folder, user, int(probe.getsockname()[1]))
    try:
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        found.run(
            initdb, "-D", str(folder / "data"), "-U", "sweeper", "-A", "scram-sha-256", "-N", "--pwfile", "password"
        )
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder)

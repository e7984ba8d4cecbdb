"""A lock as a file of the remote storage, which has no locks: its holder changes the file every few seconds.

Whoever wants the lock and finds the file looks whether it still changes. No clocks are compared, so those of different
machines may differ. Storage without conditional writes cannot tell two that write at the same moment which one was
first; both then wait for a moment and the one whose text stands has the lock.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Self
from uuid import uuid4

from filelock import Timeout

from sweep.storage.beating import BeatingLock
from sweep.storage.processes import is_dead_here, this_process
from sweep.storage.remote_files import RemoteFiles

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
SETTLE_SECONDS = 1.0
LOOK_SECONDS = 0.5


class Lease(BeatingLock):
    """A lock of the remote storage.

    `lost` becomes true if the holder could not prolong it in time or somebody else has taken it over; a holder that
    writes something which others must not overwrite looks at it before.
    """

    word = "lease"

    def __init__(
        self,
        files: RemoteFiles,
        key: str,
        beat: float = BEAT_SECONDS,
        patience: float = PATIENCE_SECONDS,
        settle: float = SETTLE_SECONDS,
    ) -> None:
        """The file `key` is changed every `beat` seconds, and given up after `patience` seconds without a change."""
        super().__init__(key)
        self._files = files
        self._key = key
        self._beat, self._patience, self._settle = beat, patience, settle
        self._token = uuid4().hex
        self._stored = 0.0
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether somebody else may have it by now. Once lost, it stays lost, also while a request hangs."""
        if self._thread is not None and time.monotonic() - self._stored > self._patience:
            self._lost = True
        return self._lost

    def acquire(self, timeout: float = 0.0) -> Self:
        """Take the lease, after looking as long as it takes to know whether its holder lives.

        Args:
            timeout: as a file lock's, but a dead holder on another machine takes `patience` seconds to tell.

        Raises:
            Timeout: somebody holds it.
        """
        deadline = time.monotonic() + timeout
        while not self._is_free():
            if time.monotonic() >= deadline:
                raise Timeout(self._files.location.child(self._key).shown)
        self._token, self._lost, self._stored = uuid4().hex, False, time.monotonic()
        self._write(0)
        time.sleep(self._settle)
        if (self._read() or {}).get("token") != self._token:
            raise Timeout(self._files.location.child(self._key).shown)
        self._begin()
        return self

    def _give_back(self) -> None:
        if not self.lost and (self._read() or {}).get("token") == self._token:
            self._files.delete(self._key)

    def _is_free(self) -> bool:
        """Nobody holds it, or its holder is dead. Returns when that is known."""
        first = self._read()
        if first is None or is_dead_here(first):
            return True
        logger.info("%s is held; looking whether its holder lives", self._key)
        since = time.monotonic()
        while time.monotonic() - since < self._patience:
            time.sleep(min(LOOK_SECONDS, self._beat / 2))
            now = self._read()
            if now is None:
                return True
            if now != first:
                return False
        return True

    def _keep_alive(self) -> None:
        beats = 0
        while not self.lost and not self._ended.wait(self._beat):
            began = time.monotonic()
            try:
                if (self._read() or {}).get("token") != self._token:
                    self._lost = True
                if self.lost:  # also if reading took too long: nothing is written then
                    return
                beats += 1
                self._write(beats)
            except OSError as error:
                logger.warning("cannot prolong the lease %s: %s", self._key, error)
                continue
            if not self.lost:
                self._stored = began  # who watches has seen the change no earlier

    def _read(self) -> dict[str, Any] | None:
        content = self._files.read(self._key)
        if content is None:
            return None
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {"unreadable": content.hex()}

    def _write(self, beat: int) -> None:
        holder = {"token": self._token, "beat": beat, **this_process()}
        self._files.write(self._key, json.dumps(holder).encode())

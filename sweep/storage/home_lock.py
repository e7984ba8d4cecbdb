"""A lock of the driver's machine, held from another one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Self
from uuid import uuid4

from filelock import Timeout

from sweep.storage.beating import BeatingLock

logger = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
LOOK_SECONDS = 0.2


class HomeLock(BeatingLock):
    """A lock of the driver's machine, held from another one: as `filelock.FileLock`, as far as it is used.

    Its holder is heard of every few seconds. When it dies, the lock is free after `PATIENCE_SECONDS`.
    """

    word = "lock"

    def __init__(self, ask: Callable[..., Any], shown: str, beat: float = BEAT_SECONDS) -> None:
        """`ask`: as `Home.ask`, about the file that the lock is. `beat`: seconds."""
        super().__init__(shown)
        self._ask = ask
        self._beat = beat
        self._token = ""

    def acquire(self, timeout: float = 0.0) -> Self:
        """Take it. Raises Timeout if somebody else has it for so many seconds."""
        deadline = time.monotonic() + timeout
        token = uuid4().hex
        while not self._ask("lock", token):
            left = deadline - time.monotonic()
            if left <= 0:
                raise Timeout(self._shown)
            time.sleep(min(left, LOOK_SECONDS))
        self._token = token
        self._begin()
        return self

    def _give_back(self) -> None:
        self._ask("unlock", self._token)

    def _keep_alive(self) -> None:
        while not self._ended.wait(self._beat):
            try:
                if not self._ask("beat", self._token):
                    return
            except OSError as error:
                logger.warning("nobody hears of the lock %s: %s", self._shown, error)

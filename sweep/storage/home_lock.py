"""A lock of the driver's machine, held from another one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from filelock import Timeout

logger = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
LOOK_SECONDS = 0.2


class HomeLock:
    """A lock of the driver's machine, held from another one: as `filelock.FileLock`, as far as it is used.

    Its holder is heard of every few seconds. When it dies, the lock is free after `PATIENCE_SECONDS`.
    """

    def __init__(self, ask: Callable[..., Any], shown: str, beat: float = BEAT_SECONDS) -> None:
        """`ask`: as `Home.ask`, about the file that the lock is. `beat`: seconds."""
        self._ask = ask
        self._shown = shown
        self._beat = beat
        self._token = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

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
        self._ended.clear()
        self._thread = threading.Thread(target=self._be_heard, name="lock", daemon=True)
        self._thread.start()
        return self

    def release(self) -> None:
        """Let go of it. One that cannot be given back ages."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        try:
            self._ask("unlock", self._token)
        except OSError as error:
            logger.warning("cannot give the lock %s back: %s", self._shown, error)

    def __enter__(self) -> Self:
        """Acquire; right after `acquire` nothing is left to do."""
        return self if self._thread is not None else self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _be_heard(self) -> None:
        while not self._ended.wait(self._beat):
            try:
                if not self._ask("beat", self._token):
                    return
            except OSError as error:
                logger.warning("nobody hears of the lock %s: %s", self._shown, error)

"""What locks on other machines have in common: a thread of the holder is heard of every few seconds."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

logger = logging.getLogger(__name__)


class BeatingLock(ABC):
    """One holder at a time, as `filelock.FileLock` with its `acquire`, `release` and `Timeout`."""

    word: ClassVar[str]
    """What people call it."""

    def __init__(self, shown: str) -> None:
        """`shown`: where it is, for people."""
        self._shown = shown
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def acquire(self, timeout: float = 0.0) -> Self:
        """Take it. Raises Timeout if somebody else has it for so many seconds."""

    @abstractmethod
    def _keep_alive(self) -> None:
        """Be heard of until `_ended`, in a thread of its own."""

    @abstractmethod
    def _give_back(self) -> None:
        """Free it for the others, unless it is somebody else's by now."""

    def _begin(self) -> None:
        self._ended.clear()
        self._thread = threading.Thread(target=self._keep_alive, name=self.word, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Let go of it. One that is somebody else's by now stays theirs, and one that cannot be given back ages."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        try:
            self._give_back()
        except OSError as error:
            logger.warning("cannot give the %s %s back: %s", self.word, self._shown, error)
        finally:
            self._thread = None

    def __enter__(self) -> Self:
        """Acquire; also right after `acquire`, as with a file lock, where nothing is left to do."""
        return self if self._thread is not None else self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

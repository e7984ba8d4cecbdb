"""Work on foreign content in a process of its own, which is ended when it takes too long or too much memory.

For content whose reader has no limits itself, and for readers that may end the process. The helper is a plain Python
process (`python -m MODULE`) that answers calls over its pipes. What goes to and fro is JSON and bytes, never a pickle.

A call ends with the function's result, with the function's own error (`CallError`), or with `LimitError`. It is the
kernel that ends a helper: its timers and limits hold where no Python code runs, and also when the caller is gone. After
that the next call starts a new one. Time is counted as computing time, so that a busy machine ends nobody.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from select import select
from threading import Lock
from typing import IO, Any, Protocol, cast
from weakref import finalize


class Stream(Protocol):
    """Bytes of a known number that are written piece by piece, because a whole copy of them is too much."""

    size: int

    def write(self, pipe: IO[bytes]) -> None:
        """Write exactly `size` bytes."""


Function = Callable[[Any, bytes], tuple[Any, "bytes | Stream"]]
"""From a JSON value and bytes to a JSON value and bytes."""

WAITING = 20  # a helper that waits for a disk may take this many times the computing time
IDLE, IDLE_SECONDS = 75, 60.0
"""The exit code of a helper that nobody has called for so long. The next call starts another one."""
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve gigabytes of addresses in advance
    "CUDA_VISIBLE_DEVICES": "",
    "MALLOC_ARENA_MAX": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take.

    Attributes:
        seconds: of computing.
        mebibytes: of memory, beyond that of the idle helper.
    """

    seconds: int
    mebibytes: int


class LimitError(Exception):
    """A call that was ended. The message says why, as in `it needs more than 256 MiB of memory`."""


class CallError(Exception):
    """The function raised.

    Attributes:
        kind: name of the exception's class.
        text: the first line of what it says.
        number: `errno`, where it has one.
    """

    def __init__(self, kind: str, text: str, number: int | None) -> None:
        super().__init__(kind, text, number)
        self.kind, self.text, self.number = kind, text, number


class Helper:
    """One helper process, started at the first call. May be called from several threads, one call at a time.

    Args:
        module: its name. It calls `serve`.
        limits: of every call.
        idle_seconds: after which a helper that nobody calls ends itself.
    """

    def __init__(self, module: str, limits: Limits, idle_seconds: float = IDLE_SECONDS) -> None:
        self._module, self._limits, self._idle_seconds = module, limits, idle_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def call(self, name: str, value: Any = None, content: bytes = b"") -> tuple[Any, bytes]:  # noqa: ANN401 (any JSON)
        """Have a function called.

        Raises:
            LimitError: it took too long, or too much memory, or its process ended.
            CallError: it raised.
        """
        with self._lock:
            (outcome, found), payload = self._ask(name, value, content)
        if outcome == "raised":
            raise CallError(*found)
        if outcome == "memory":
            raise LimitError(self._too_large())
        return found, payload

    def _ask(self, name: str, value: Any, content: bytes) -> tuple[Any, bytes]:  # noqa: ANN401 (any JSON)
        for _ in range(2):
            process = self._process = self._process or self._start()
            try:
                _send(cast("IO[bytes]", process.stdin), [name, value], content)
                return _receive(cast("IO[bytes]", process.stdout))
            except (OSError, EOFError):
                self._process = None
                _close(process)
                if process.returncode != IDLE:
                    raise LimitError(self._why(process.returncode)) from None
            except BaseException:  # Ctrl-C between question and answer: the next call must not get this one's answer
                self._process = None
                process.kill()
                _close(process)
                raise
        raise LimitError(self._why(IDLE))

    def close(self) -> None:
        """End the process. A later call starts another one."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            _close(process)

    def _start(self) -> subprocess.Popen[bytes]:
        limits = self._limits
        command = [sys.executable, "-P", "-m", self._module, str(limits.seconds), str(limits.mebibytes * 2**20)]
        command.append(str(self._idle_seconds))
        # The caller's own path: in a worker of Ray it is not the one that Python starts with.
        environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(  # noqa: S603 (this very Python, and a module of ours)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        finalize(self, _close, process)
        return process

    def _why(self, code: int) -> str:
        if -code in (signal.SIGPROF, signal.SIGALRM):
            return f"it takes more than {self._limits.seconds} seconds"
        if -code == signal.SIGKILL:
            return self._too_large()  # it is the system's answer to a machine without memory
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
        return f"it ends the process that works on it ({name})"

    def _too_large(self) -> str:
        return f"it needs more than {self._limits.mebibytes} MiB of memory"


def _close(process: subprocess.Popen[bytes]) -> None:
    """A helper whose pipe is closed ends by itself, or by its timer."""
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not sent yet
            cast("IO[bytes]", pipe).close()
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def shared_helper(module: str, limits: Limits, thread: int = 0) -> Helper:
    """The helper of this process for this module and these limits; or of one thread, where several shall work."""
    return _shared(module, limits, os.getpid(), thread)


@cache
def _shared(module: str, limits: Limits, _process: int, _thread: int) -> Helper:
    return Helper(module, limits)


# --- In the helper ---------------------------------------------------------------------------------------------------


def serve(functions: dict[str, Function]) -> None:
    """Answer calls until the caller closes the pipe. The limits are the command line's."""
    seconds, most, idle_seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who closes the pipe
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    wanted, hard = pages * resource.getpagesize() + most, resource.getrlimit(resource.RLIMIT_AS)[1]
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while select([source], [], [], idle_seconds)[0]:
        try:
            (name, value), content = _receive(source)
        except EOFError:
            return
        _set_timers(seconds)
        try:
            answer, payload = functions[name](value, content)
            outcome = "done"
        except MemoryError:
            outcome, answer, payload = "memory", None, b""
        except Exception as error:  # whatever foreign content makes of it
            lines = str(error).splitlines() or [""]
            outcome, answer, payload = "raised", [type(error).__name__, lines[0][:1000], _number(error)], b""
        del value, content
        _set_timers(0)
        _send(target, [outcome, answer], payload)
    os._exit(IDLE)


def _number(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _set_timers(seconds: int) -> None:
    """Signals that nobody handles, so that the kernel ends the process wherever it is."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * WAITING)


# --- On the pipe -----------------------------------------------------------------------------------------------------


def _send(pipe: IO[bytes], value: Any, content: bytes | Stream) -> None:  # noqa: ANN401 (any JSON value)
    head = json.dumps(value).encode()
    size = len(content) if isinstance(content, bytes) else content.size
    pipe.write(len(head).to_bytes(8) + size.to_bytes(8) + head)
    if isinstance(content, bytes):
        pipe.write(content)
    else:
        content.write(pipe)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[Any, bytes]:
    sizes = _exactly(pipe, 16)
    head = _exactly(pipe, int.from_bytes(sizes[:8]))
    return json.loads(head), _exactly(pipe, int.from_bytes(sizes[8:]))


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError
    return content

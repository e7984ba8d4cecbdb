"""What Ray says of a worker that died, in a line for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COUNTERS = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))
UNKNOWN = "the run's log may say why"
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt)(?::.*)?$", re.MULTILINE)
_DETAIL = re.compile(r"Worker exit detail: (.+)")
_DEAD_BECAUSE = re.compile(r"The actor is dead because (.+)")
# Ray 2.58 to 2.60 in the messages of actors whose class no worker could load, or whose process ended before that.
_NEVER_BEGAN = ("failed to import on the worker", "The actor never ran", "an error raised in its creation task")
_ACTOR = re.compile(r"actor_id[:=] ?([0-9a-f]+)")
_IDENTITY = re.compile(r",? ?\(?\b(?:pid|ip|actor_id|(?:\w+ )?I[Dd])[=:] ?[\w.]+\)?|\b[0-9a-f]{16,}\b")
_LONGEST = 300
# Ray's word for a process that ended without one: killed by a signal, or crashed.
_WITHOUT_A_WORD = "connection error code 2"
_LESS_MEMORY = "lower `concurrency`, so that fewer trials run at a time, or take a machine with more memory"
_FULL = f"killed for memory: its node's was nearly full, and Ray ends workers then; {_LESS_MEMORY}"
_KERNEL = f"killed for memory: the system's out-of-memory killer ended it; {_LESS_MEMORY}"
_KILLED = (
    f"its process was killed (SIGKILL) or crashed; the system kills what takes too much memory: if that was it, "
    f"{_LESS_MEMORY}"
)


@dataclass(frozen=True)
class Death:
    """How a worker ended.

    Attributes:
        reason: one line, equal for equal causes: without process numbers and ids.
        node: Ray's id of the node that it ran on. Empty where Ray does not know.
        began: whether the worker was up. If not, the trial that waited for it has no part in that.
    """

    reason: str
    node: str
    began: bool


def death_in(text: str, memory_ran_out: bool = False) -> Death:
    """Read what Ray raised when an actor died.

    Args:
        text: its message. Empty: it left nothing to be read.
        memory_ran_out: whether the system has killed processes for memory on this machine.
    """
    actor = _ACTOR.search(text)
    reason = _of_memory(text, memory_ran_out) or reason_in(text)
    return Death(reason, _node_of(actor.group(1)) if actor else "", began=not never_began(text))


def never_began(text: str) -> bool:
    """Whether an error of Ray's says that a process could not load what it was to run."""
    return any(words in text for words in _NEVER_BEGAN)


def _of_memory(text: str, memory_ran_out: bool) -> str | None:
    if "memory usage threshold" in text or "running low on memory" in text:
        return _FULL
    if _WITHOUT_A_WORD in text:
        return _KERNEL if memory_ran_out else _KILLED
    return None


class SystemKills:
    """Whether the system has killed processes for memory on this machine since this was made."""

    def __init__(self, counters: Sequence[Path] = COUNTERS) -> None:
        self._counters = counters
        self._before = self._count()

    def happened(self) -> bool:
        """Asked when a worker has died without a word."""
        return self._count() > self._before

    def _count(self) -> int:
        return sum(self._counted(file) for file in self._counters)

    @staticmethod
    def _counted(file: Path) -> int:
        """Of a file with a name and a number in each line. 0 where the system does not tell."""
        try:
            lines = [line.split() for line in file.read_text().splitlines()]
        except OSError:
            return 0
        return next((int(line[1]) for line in lines if line[:1] == ["oom_kill"] and len(line) == 2), 0)


def reason_in(text: str) -> str:
    """The line of an error of Ray's that says what happened. Ray puts whole tracebacks into its messages."""
    exceptions = _EXCEPTION.findall(text)
    detail = _DETAIL.search(text) or _DEAD_BECAUSE.search(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [UNKNOWN]
    found = exceptions[-1] if exceptions else detail.group(1) if detail else lines[0]
    found = found.partition(" Some common causes include:")[0]
    found = _IDENTITY.sub("", found).strip()
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]} ..."


def _node_of(actor_id: str) -> str:
    from ray._private.state import actors  # the public state API needs a dashboard

    address = actors(actor_id).get("Address", {})
    return str(address.get("NodeID", ""))

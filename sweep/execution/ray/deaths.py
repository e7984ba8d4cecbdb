"""What Ray says of a worker that died, in a line for people."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNKNOWN = "the run's log may say why"
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt)(?::.*)?$", re.MULTILINE)
_DETAIL = re.compile(r"Worker exit detail: (.+)")
_DEAD_BECAUSE = re.compile(r"The actor is dead because (.+)")
# Ray 2.58 to 2.60 in the messages of actors whose class no worker could load, or whose process ended before that.
_NEVER_BEGAN = ("failed to import on the worker", "The actor never ran")
_IDENTITY = re.compile(r",? ?\(?\b(?:pid|ip|actor_id|(?:\w+ )?I[Dd])[=:] ?[\w.]+\)?|\b[0-9a-f]{16,}\b")
_LONGEST = 300


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


def death_of(error: Exception | None) -> Death:
    """Read what Ray raised. None: it left nothing to be read."""
    if error is None:
        return Death(UNKNOWN, "", began=True)
    text = str(error)
    never = bool(getattr(error, "actor_init_failed", False)) or never_began(text)
    return Death(reason_in(text), _node_of(getattr(error, "actor_id", None)), began=not never)


def never_began(text: str) -> bool:
    """Whether an error of Ray's says that a process could not load what it was to run."""
    return any(words in text for words in _NEVER_BEGAN)


def reason_in(text: str) -> str:
    """The line of an error of Ray's that says what happened. Ray puts whole tracebacks into its messages."""
    exceptions = _EXCEPTION.findall(text)
    detail = _DETAIL.search(text) or _DEAD_BECAUSE.search(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [UNKNOWN]
    found = exceptions[-1] if exceptions else detail.group(1) if detail else lines[0]
    found = found.partition(" Some common causes include:")[0]
    found = _IDENTITY.sub("", found).strip()
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST]} ..."


def _node_of(actor_id: str | None) -> str:
    from ray._private.state import actors  # the public state API needs a dashboard

    if actor_id is None:
        return ""
    address = actors(actor_id).get("Address", {})
    return str(address.get("NodeID", ""))

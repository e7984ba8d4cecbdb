"""What is read out of Ray's messages, as Ray 2.60 writes them."""

from __future__ import annotations

import pytest
from ray._private import state

from sweep.execution.ray.deaths import UNKNOWN, death_in, reason_in

IMPORT = """The actor died unexpectedly before finishing this task.
\tclass_name: SweepTrial[small-1]
\tactor_id: 216ff4b76fcfb61bccdf74f301000000
\tpid: 1168
\tip: 127.0.0.3
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits \
unexpectedly. Worker exits with an exit code None. Traceback (most recent call last):
  File "function_manager.py", line 657, in temporary_actor_method
    raise RuntimeError(
RuntimeError: The actor with name SweepTrial[small-1] failed to import on the worker. This may be because needed \
library dependencies are not installed in the worker environment:

Traceback (most recent call last):
  File "function_manager.py", line 696, in _load_actor_class_from_gcs
ModuleNotFoundError: No module named 'sweep.execution'

An unexpected internal error occurred while the worker was executing a task."""
KILLED = """The actor died unexpectedly before finishing this task.
\tclass_name: SweepTrial[small-1]
\tactor_id: 6ccbe3313d0491eab2eccf0101000000
\tpid: 4086
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed \
by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly."""
NODE = """The actor died unexpectedly before finishing this task.
\tclass_name: SweepTrial[small-1]
The actor is dead because its node has died. Node Id: 7259a2200cd24c5cba87c255d0c52f944acbdfd7d1a551dcd521771a"""
SETUP = """The actor died because of an error raised in its creation task, ray::A.__init__() (pid=4085, ip=127.0.0.1, \
actor_id=ab114dc6cedfa37279e1018c01000000, repr=<actor.A object at 0x7fde0bb26010>)
  File "actor.py", line 9, in __init__
    if how=="raise": raise OSError("no")
OSError: no"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (IMPORT, "ModuleNotFoundError: No module named 'sweep.execution'"),
        (KILLED, "Worker unexpectedly exits with a connection error code 2. End of file."),
        (NODE, "its node has died."),
        (SETUP, "OSError: no"),
        ("something new\nin two lines", "something new"),
        ("", UNKNOWN),
    ],
)
def test_the_reason_is_one_line_without_what_differs_from_death_to_death(text: str, reason: str) -> None:
    assert reason_in(text) == reason


@pytest.mark.parametrize(
    ("text", "began"),
    [
        (IMPORT, False),
        (KILLED + "\nThe actor never ran - it was cancelled before it started running.", False),
        (SETUP, False),
        (KILLED, True),
        (NODE, True),
        ("", True),
    ],
)
def test_whether_the_worker_was_up_and_where(monkeypatch: pytest.MonkeyPatch, text: str, began: bool) -> None:
    def actors(actor_id: str) -> dict[str, object]:
        assert len(actor_id) == 32
        return {"Address": {"NodeID": "a node"}}

    monkeypatch.setattr(state, "actors", actors)
    death = death_in(text)
    assert death.began is began
    assert death.node == ("a node" if "actor_id" in text else "")

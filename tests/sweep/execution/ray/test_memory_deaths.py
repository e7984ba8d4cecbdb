"""What people are told of a worker that was killed for memory. The texts are Ray's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError, OutOfMemoryError

from sweep.execution.ray import deaths
from sweep.execution.ray.deaths import SystemKills, death_in

KILLED_BY_RAY = (
    "Task was killed due to the node running low on memory.\n"
    "Memory on the node (IP: 127.0.0.1, ID: 7e6b) where the lease (actor ID: 5e0f, name=SweepTrial.__init__, pid=41, "
    "memory used=0.31GB) was running was 29.48GB / 31.00GB (0.951), which exceeds the memory usage threshold of 0.95. "
    "Ray killed this worker (ID: 44f1) because it was the most recently scheduled task; to see more information about "
    "memory usage on this node, use `ray logs raylet.out -ip 127.0.0.1`.\nTop 10 memory users:\nPID\tMEM(GB)\tCOMMAND\n"
)
ENDED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: SweepTrial[mine]\n\tpid: 4711\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was "
    "killed by SIGKILL by OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker "
    "crashed unexpectedly due to SIGSEGV or other unexpected errors."
)


def died(words: str) -> ActorDiedError:
    return ActorDiedError(ActorDiedErrorContext(error_message=words, actor_id=b"a" * 16, pid=4711))


@pytest.mark.parametrize(
    ("error", "ran_out", "said"),
    [
        (OutOfMemoryError(KILLED_BY_RAY), False, "killed for memory: its node's was nearly full, and Ray ends workers"),
        (died(KILLED_BY_RAY), False, "killed for memory: its node's was nearly full"),
        (died(ENDED), True, "killed for memory: the system's out-of-memory killer ended it"),
        (
            died(ENDED),
            False,
            "its process was killed (SIGKILL) or crashed; the system kills",
        ),
    ],
)
def test_a_worker_killed_for_memory_says_so_and_what_to_change(
    error: Exception, ran_out: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deaths, "_node_of", lambda actor: "")  # which asks Ray
    death = death_in(str(error), ran_out)
    assert death.began and death.reason.startswith(said)
    assert "lower `concurrency`" in death.reason and "\n" not in death.reason
    assert not any(number in death.reason for number in ("4711", "29.48", "7e6b")), "equal for equal causes"


def test_the_system_tells_whether_it_killed(tmp_path: Path) -> None:
    counters = [tmp_path / "vmstat", tmp_path / "memory.events", tmp_path / "nowhere"]
    counters[0].write_text("nr_free_pages 1\noom_kill 3\n")
    counters[1].write_text("oom 9\noom_kill 1\n")
    kills = SystemKills(counters)
    assert not kills.happened()
    counters[1].write_text("oom 10\noom_kill 2\n")
    assert kills.happened()

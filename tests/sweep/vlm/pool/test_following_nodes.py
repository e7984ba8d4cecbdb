"""Workers follow the nodes of a cluster. Nothing is started: only where there may be workers, and which get no work."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sweep.settings.vlm import WorkerSettings
from sweep.vlm.pool import workers as module
from sweep.vlm.pool.nodes import Node
from sweep.vlm.pool.workers import State, Worker, Workers
from tests.sweep.execution.ray.made_nodes import Hand, node

LABELS = {"pool": "large"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(module.time, "monotonic", hand)
    return hand


def looking(there: Sequence[Node], most: int | None = None, **settings: object) -> Workers:
    wanted = WorkerSettings.model_validate({"labels": LABELS, **settings})
    return Workers(lambda actor: None, wanted, "run", 1, 10.0, print, lambda: most, lambda: list(there))


@pytest.mark.parametrize(("count", "most", "expected"), [(None, None, 6), (4, None, 4), (None, 3, 3), (4, 9, 4)])
def test_a_node_that_joins_gets_workers(clock: Hand, count: int | None, most: int | None, expected: int) -> None:
    there = [node("1", 2, labels=LABELS), node("2", 8)]
    workers = looking(there, most, count=count)
    there.append(node("3", 4, labels=LABELS))
    assert workers.follow_nodes() == [] and workers.size == 1, "a moment ago it was looked at"
    clock.seconds += 3
    assert workers.follow_nodes() == [] and workers.size == expected
    there.pop()
    clock.seconds += 3
    assert workers.follow_nodes() == [] and workers.size == expected, "places that nothing fits stay empty"


def test_workers_on_a_leaving_node_get_no_more_work_and_are_said_once(clock: Hand) -> None:
    there = [node("1", 2, labels=LABELS), node("2", 2, labels=LABELS)]
    workers = looking(there)
    for number, place in (("1", 0), ("2", 1)):
        worker = Worker(place, place, f"worker {number}", None, None, 0.0, State.READY, node=number)
        clock.seconds += 3
        workers.follow_nodes()
        workers._places[place].worker = worker
    there[0] = node("1", 2, labels=LABELS, leaving=True)
    clock.seconds += 3
    assert [worker.name for worker in workers.follow_nodes()] == ["worker 1"]
    clock.seconds += 3
    assert workers.follow_nodes() == []

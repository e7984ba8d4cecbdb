"""The actor's class without an actor."""

from types import SimpleNamespace

import pytest
import torch

from selector.errors import DataError
from sweep.vlm.pool.worker import CallFailed, VlmWorker
from sweep.vlm.work import Answer, WorkItem


class Counting:
    """Answers with the number of the item in its batch."""

    def answer(self, table, items, score=False):
        return [Answer(f"{table} {number}", 1.0 if score else None, 1) for number, _ in enumerate(items)]


class Short(Counting):
    """Breaks the promise of one result per item."""

    def answer(self, table, items, score=False):
        return super().answer(table, items, score)[1:]


class Raising(Counting):
    error: Exception = ValueError("broken\nsecond line")

    def answer(self, table, items, score=False):
        raise self.error


def loaded(factory) -> VlmWorker:
    worker = VlmWorker("VlmWorker[run] 1")
    assert worker.load(factory, "table", 1.0) is None
    return worker


def test_answers_are_handed_on() -> None:
    worker = loaded(Counting)
    assert worker.answer([WorkItem(1), WorkItem(2)], False) == [Answer("table 0", None, 1), Answer("table 1", None, 1)]
    assert repr(worker) == "VlmWorker[run] 1"


def test_a_worker_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "abc"))
    process, node = VlmWorker("VlmWorker[run] 1").where()
    assert process.startswith("pid ") and node == "abc"


def test_with_scores_every_query_is_a_call_of_its_own() -> None:
    items = [WorkItem(1), WorkItem(1, (7,)), WorkItem(2)]
    found = loaded(Counting).answer(items, True)
    assert found == [Answer("table 0", 1.0, 1), Answer("table 1", 1.0, 1), Answer("table 0", 1.0, 1)]


def test_a_missing_result_is_a_failure_and_not_a_shift() -> None:
    assert loaded(Short).answer([WorkItem(1)], False) == CallFailed("gave 0 results for 1 work items")


def test_what_it_raises_is_one_line(capsys) -> None:
    assert loaded(Raising).answer([WorkItem(1)], False) == CallFailed("ValueError: broken")
    assert "second line" in capsys.readouterr().err  # the worker's log has all of it


def test_a_mistake_of_the_users_is_marked(monkeypatch) -> None:
    monkeypatch.setattr(Raising, "error", DataError("no such\n  placeholder"))
    assert loaded(Raising).answer([WorkItem(1)], False) == CallFailed("no such placeholder", mistake=True)


def failing(error: Exception):
    def factory():
        raise error

    return factory


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (DataError("no file:\n  x"), CallFailed("no file: x", mistake=True)),
        (ValueError("bad\nshape"), CallFailed("ValueError: bad")),
        (ValueError(), CallFailed("ValueError")),
    ],
)
def test_why_it_could_not_load(error, ended) -> None:
    assert VlmWorker("name").load(failing(error), None, 1.0) == ended


@pytest.mark.parametrize(("cpus", "threads"), [(3.0, 3), (2.5, 2), (0.5, 1)])
def test_torch_uses_the_workers_cores(cpus, threads) -> None:
    before = torch.get_num_threads()
    try:
        VlmWorker("name").load(Counting, None, cpus)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)

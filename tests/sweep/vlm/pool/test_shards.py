"""Nothing is lost or doubled, and what belongs together stays together."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sweep.vlm.pool.shards import Shards
from sweep.vlm.work import WorkItem


def items_of(query: int, count: int) -> list[WorkItem]:
    return [WorkItem(query, (number,)) for number in range(count)]


def test_a_query_goes_whole_to_one_worker_and_stays_there() -> None:
    shards = Shards()
    shards.join(1)
    shards.join(2)
    shards.add([*items_of(7, 3), *items_of(8, 3), *items_of(9, 3)])
    assert shards.take(1, 4) == items_of(7, 3)  # a part of the next would fit, but is not taken
    assert shards.take(2, 6) == items_of(8, 3) + items_of(9, 3)
    shards.add([WorkItem(8), WorkItem(7)])
    assert shards.take(1, 4) == [WorkItem(7)]
    assert shards.take(2, 4) == [WorkItem(8)]
    assert not shards


def test_the_rest_of_a_large_shard_comes_next_to_the_same_worker() -> None:
    shards = Shards()
    shards.join(1)
    shards.join(2)
    shards.add([*items_of(7, 5), *items_of(8, 1), *items_of(9, 1)])
    assert shards.take(1, 3) == items_of(7, 3)
    assert shards.take(2, 1) == items_of(8, 1)
    assert shards.take(1, 3) == [*items_of(7, 5)[3:], WorkItem(9, (0,))]


def test_an_idle_worker_takes_the_last_half_of_what_the_richest_has() -> None:
    shards = Shards()
    for worker in (1, 2, 3):
        shards.join(worker)
    shards.add(WorkItem(query) for query in range(20))
    assert len(shards.take(1, 12)) == 12
    assert len(shards.take(2, 8)) == 8
    shards.add(WorkItem(query, (1,)) for query in range(20))
    stolen = shards.take(3, 100)
    assert [item.query for item in stolen] == [11, 10, 9, 8, 7, 6]
    shards.add(WorkItem(query, (2,)) for query in (11, 0))
    assert WorkItem(11, (2,)) in shards.take(3, 100), "what was taken belongs to the new owner"


def test_what_a_lost_worker_owned_is_anybodys() -> None:
    shards = Shards()
    shards.join(1)
    shards.add(items_of(7, 1))
    shards.take(1, 1)
    shards.add(items_of(7, 2))
    shards.leave(1)
    shards.add([WorkItem(7, (5,))])
    shards.join(2)
    assert shards.take(2, 9) == [*items_of(7, 2), WorkItem(7, (5,))]


def test_a_query_stays_on_its_node_when_its_worker_is_gone() -> None:
    shards = Shards()
    shards.join(1, "a")
    shards.join(2, "b")
    shards.add([WorkItem(7), WorkItem(8)])
    assert shards.take(1, 1) == [WorkItem(7)] and shards.take(2, 1) == [WorkItem(8)]
    shards.add([WorkItem(7, (1,)), WorkItem(9), WorkItem(8, (1,))])
    shards.leave(1)
    shards.add([WorkItem(7, (2,))])
    assert shards.take(2, 9) == [WorkItem(8, (1,)), WorkItem(9)], "fresh queries first, and none of the other node"
    shards.join(3, "a")
    assert shards.take(3, 9) == [WorkItem(7, (1,)), WorkItem(7, (2,))]
    shards.add([WorkItem(7, (3,))])
    shards.leave(3)
    assert shards.take(2, 9) == [WorkItem(7, (3,))], "better than nothing to do"


def test_an_idle_worker_takes_from_its_own_node_first() -> None:
    shards = Shards()
    for worker, node in ((1, "a"), (2, "b"), (3, "b")):
        shards.join(worker, node)
    for worker, queries in ((1, range(8)), (2, range(8, 12))):
        shards.add(WorkItem(query) for query in queries)
        shards.take(worker, 8)
        shards.add(WorkItem(query, (1,)) for query in queries)
    assert [item.query for item in shards.take(3, 8)] == [11, 10]
    assert [item.query for item in shards.take(2, 8)] == [8, 9]
    assert [item.query for item in shards.take(3, 8)] == [7, 6, 5, 4], "its own node has nothing left"


class AnyHistory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.shards = Shards()
        self.waiting: Counter[WorkItem] = Counter()
        self.workers: list[int] = []
        self.number = 0

    @rule()
    def join(self) -> None:
        self.number += 1
        self.shards.join(self.number, "abc"[self.number % 3])
        self.workers.append(self.number)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def leave(self, data) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        self.workers.remove(worker)
        self.shards.leave(worker)

    @rule(items=st.lists(st.builds(WorkItem, st.integers(0, 4), st.tuples(st.integers(0, 2))), max_size=8))
    def add(self, items) -> None:
        self.shards.add(items)
        self.waiting.update(items)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), size=st.integers(1, 6))
    def take(self, data, size) -> None:
        taken = self.shards.take(data.draw(st.sampled_from(self.workers)), size)
        assert len(taken) <= size
        assert taken or not self.waiting.total()
        assert Counter(taken) <= self.waiting
        self.waiting -= Counter(taken)

    @invariant()
    def counts(self) -> None:
        assert len(self.shards) == self.waiting.total()
        assert bool(self.shards) == bool(self.waiting.total())


TestAnyHistory = AnyHistory.TestCase


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 10))
def test_with_one_worker_queries_are_never_interleaved(queries, size) -> None:
    shards = Shards()
    shards.join(1)
    shards.add(WorkItem(query, (number,)) for number, query in enumerate(queries))
    order = []
    while batch := shards.take(1, size):
        order += [item.query for item in batch]
    changes = sum(one != two for one, two in pairwise(order))
    assert changes == max(0, len(set(queries)) - 1)

"""The pool on a real Ray, with workers that do nothing wrong."""

from collections import Counter

import pytest

from sweep.vlm.pool.pool import Pool
from sweep.vlm.work import WorkItem
from tests.sweep.vlm.pool.answerers import Factory, Table, calls, items_of, lines, right
from tests.sweep.vlm.pool.sizes import SMALL


@pytest.fixture(scope="module")
def shared(ray_session, tmp_path_factory):
    """A pool of two workers for all tests that do no harm to them, and what they note."""
    notes = tmp_path_factory.mktemp("shared") / "notes"
    with Pool(Factory(notes, seconds=0.001, gather=2), Table(), SMALL, "shared") as pool:
        assert list(pool.run([])) == []
        assert list(pool.run(iter(()))) == []
        assert not notes.exists(), "workers were started for nothing"
        list(pool.run([WorkItem(0, (number,)) for number in range(16)]))
        yield pool, notes
    assert len(calls(notes, "loaded")) == 2, "workers did not stay from run to run"


@pytest.mark.parametrize("score", [False, True])
@pytest.mark.parametrize("queries", [0, 1, 30])
def test_every_item_has_its_result_once(shared, score, queries) -> None:
    pool, notes = shared
    items, before = items_of(queries), len(calls(notes))
    results = list(pool.run(items, score))
    assert Counter(results) == Counter((item, right(item, 0.5 if score else None)) for item in items)
    assert len(calls(notes)) - before == len(items)


def test_a_query_stays_with_its_worker(shared) -> None:
    """Though its items lie far apart: a worker that has nothing else may take a query over, but then as a whole."""
    pool, notes = shared
    before = len(lines(notes))
    list(pool.run([WorkItem(query, (row,)) for row in range(12) for query in range(100, 116)]))
    owners = Counter((what.split("-")[0], pid) for pid, what in lines(notes)[before:])
    assert len({pid for _, pid in owners}) == 2
    assert len(owners) <= 20, owners  # of 32

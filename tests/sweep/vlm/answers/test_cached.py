"""Asked once, stored, and never asked again."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.storage.local import stored_at
from sweep.vlm.answers.cached import AnswerSet, Counts, FailureCount, answer_all
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.failure_limit import EvaluationError
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem

ROOT = Path(__file__).resolve().parents[4]


def wanted_of(item: WorkItem, score: bool = False) -> Wanted:
    key = hashlib.sha256(repr(item).encode()).hexdigest()
    return Wanted(key, "aim" if score else None)


class Model:
    """Answers in the order that it likes, and remembers what it was asked."""

    def __init__(self, failing: dict[int, Failure] | None = None) -> None:
        self.failing = failing or {}
        self.asked: list[WorkItem] = []
        self.closed = False

    def __call__(self, items, score):
        try:
            for item in reversed(items):
                self.asked.append(item)
                yield item, self.result(item, score)
        finally:
            self.closed = True

    def result(self, item: WorkItem, score: bool = False) -> Result:
        return self.failing.get(item.query) or Answer(f"text {item}", 0.5 if score else None, 3)


def evaluate(folder: Path, items, model: Model, wants=wanted_of, score=False, failure_limit=0.05, **more) -> AnswerSet:
    return answer_all(
        items,
        wants=wants,
        store=AnswerStore(stored_at(folder)),
        run=model,
        score=score,
        model="model",
        failure_limit=failure_limit,
        **more,
    )


def items_of(count: int) -> list[WorkItem]:
    return [WorkItem(query, (query + 1,)) for query in range(count)]


def test_asked_once_and_never_again(tmp_path: Path) -> None:
    items, model = items_of(30), Model()
    first = evaluate(tmp_path, items * 2, model)
    assert first.results == {item: model.result(item) for item in items}
    assert first.counts == Counts(60, 30, 0, 30, 0, {})
    again = evaluate(tmp_path, [*items, WorkItem(77)], model)
    assert model.asked == [*reversed(items), WorkItem(77)]
    assert again.counts == Counts(31, 31, 30, 1, 0, {})
    assert again.results == {item: model.result(item) for item in [*items, WorkItem(77)]}


def test_nothing_new_does_not_even_ask(tmp_path: Path) -> None:
    evaluate(tmp_path, items_of(3), Model())

    def never(items, score):
        raise AssertionError("asked")

    assert evaluate(tmp_path, items_of(3), never).counts == Counts(3, 3, 3, 0, 0, {})
    assert evaluate(tmp_path, [], never) == AnswerSet({}, Counts(0, 0, 0, 0, 0, {}))


def test_a_score_is_asked_for_anew_and_then_serves_both(tmp_path: Path) -> None:
    items, model = items_of(4), Model()

    def scored(item: WorkItem) -> Wanted:
        return wanted_of(item, score=True)

    evaluate(tmp_path, items, model)
    second = evaluate(tmp_path, items, model, scored, score=True)
    assert len(model.asked) == 8
    assert {result.gt_prob for result in second.results.values()} == {0.5}
    assert evaluate(tmp_path, items, model, scored, score=True).results == second.results
    assert {result.gt_prob for result in evaluate(tmp_path, items, model).results.values()} == {None}
    assert len(model.asked) == 8


def test_equal_contents_are_asked_once(tmp_path: Path) -> None:
    model = Model()
    seen = Counter()

    def wants(item: WorkItem) -> Wanted:
        return wanted_of(WorkItem(item.query % 3))

    found = evaluate(tmp_path, items_of(9), model, wants, observer=lambda item, result: seen.update([item]))
    assert len(model.asked) == 3
    assert found.counts == Counts(9, 3, 0, 3, 0, {})
    assert found.results == {item: model.result(items_of(3)[item.query % 3]) for item in items_of(9)}
    assert seen == Counter(items_of(9))


def test_queries_are_asked_side_by_side(tmp_path: Path) -> None:
    model = Model()
    evaluate(tmp_path, [WorkItem(query, (row,)) for row in range(3) for query in range(3)], model)
    assert [item.query for item in model.asked] == [2, 2, 2, 1, 1, 1, 0, 0, 0]


def test_an_image_that_cannot_be_read_is_a_failure_that_nobody_is_asked(tmp_path: Path) -> None:
    bad = Failure(FailureKind.IMAGE, "no such file", "images/7.jpg")

    def wants(item: WorkItem) -> Wanted | Failure:
        return bad if item.query == 7 else wanted_of(item)

    for reused in (0, 29):
        model = Model()
        found = evaluate(tmp_path, items_of(30), model, wants)
        assert found.results[items_of(30)[7]] == bad
        assert len(model.asked) == 29 - reused
        assert found.counts == Counts(
            30, 30, reused, 29 - reused, 1, {FailureKind.IMAGE: FailureCount(1, ("images/7.jpg",))}
        )


def test_lasting_failures_are_kept_and_others_tried_again(tmp_path: Path) -> None:
    image = Failure(FailureKind.IMAGE, "truncated", "b.jpg")
    crash = Failure(FailureKind.CRASH, "ended its worker 3 times")
    first = evaluate(tmp_path, items_of(100), Model({3: image, 4: image, 5: crash}))
    assert first.counts == Counts(
        100, 100, 0, 97, 3, {FailureKind.CRASH: FailureCount(1, ()), FailureKind.IMAGE: FailureCount(2, ("b.jpg",))}
    )
    model = Model()
    second = evaluate(tmp_path, items_of(100), model)
    assert [item.query for item in model.asked] == [5]
    assert second.counts == Counts(100, 100, 99, 1, 0, {FailureKind.IMAGE: FailureCount(2, ("b.jpg",))})


def failures(count: int) -> dict[int, Failure]:
    return {query: Failure(FailureKind.IMAGE, f"truncated {query % 2}", f"{query:03d}.jpg") for query in range(count)}


@pytest.mark.parametrize(("failed", "stops"), [(5, False), (6, True)])
def test_it_stops_when_more_fail_than_the_limit_allows(tmp_path: Path, failed, stops) -> None:
    model = Model({99 - query: failure for query, failure in failures(failed).items()})  # asked first
    if not stops:
        assert evaluate(tmp_path, items_of(100), model).counts.failed[FailureKind.IMAGE].count == failed
        return
    with pytest.raises(EvaluationError) as caught:
        evaluate(tmp_path, items_of(100), model)
    message = str(caught.value)
    assert "\n" not in message
    assert "6 of 100 distinct work items have no answer" in message
    assert "failure limit of 0.05" in message
    assert "3 x image: truncated 0; 3 x image: truncated 1" in message
    assert "(000.jpg, 001.jpg, 002.jpg, 003.jpg, 004.jpg and 1 more)" in message
    assert model.closed
    assert len(model.asked) == 20  # six bad ones at the very beginning are not yet looked at
    again = Model()
    evaluate(tmp_path, items_of(100), again, failure_limit=0.06)
    assert len(again.asked) == 80, "what was answered before the stop was asked again"


def test_many_bad_ones_together_do_not_stop_it_as_long_as_they_are_few_of_all(tmp_path: Path) -> None:
    model = Model({999 - query: failure for query, failure in failures(40).items()})
    assert evaluate(tmp_path, items_of(1000), model).counts.answered == 960


def test_few_items_pass_with_failures_unless_nothing_is_answered(tmp_path: Path) -> None:
    assert evaluate(tmp_path / "a", items_of(10), Model(failures(9))).counts.answered == 1
    with pytest.raises(EvaluationError, match="10 of 10"):
        evaluate(tmp_path / "b", items_of(10), Model(failures(10)))


def test_unreadable_images_stop_it_before_anything_is_asked(tmp_path: Path) -> None:
    model = Model()
    with pytest.raises(EvaluationError, match="20 x image: gone"):
        evaluate(tmp_path, items_of(20), model, wants=lambda item: Failure(FailureKind.IMAGE, "gone", "x.jpg"))
    assert not model.asked


def test_an_interrupt_keeps_what_was_answered(tmp_path: Path) -> None:
    model = Model()

    def interrupted(items, score):
        for number, pair in enumerate(model(items, score)):
            if number == 6:
                raise KeyboardInterrupt
            yield pair

    with pytest.raises(KeyboardInterrupt):
        evaluate(tmp_path, items_of(30), interrupted)
    again = Model()
    assert evaluate(tmp_path, items_of(30), again).counts.reused == 6


@given(
    st.lists(st.lists(st.builds(WorkItem, st.integers(0, 30)), max_size=50), max_size=4),
    st.dictionaries(
        st.integers(0, 30), st.sampled_from([Failure(kind, "why", f"{kind}.jpg") for kind in FailureKind]), max_size=5
    ),
)
def test_counts_add_up_and_every_item_has_the_result_of_an_undisturbed_run(tmp_path_factory, runs, failing) -> None:
    folder = tmp_path_factory.mktemp("store")
    known: set[WorkItem] = set()
    for items in runs:
        model = Model(failing)
        found = evaluate(folder, items, model, failure_limit=1.0) if set(items) - bad(failing) else None
        if found is None:
            continue
        assert found.results == {item: model.result(item) for item in items}
        counts = found.counts
        assert counts.distinct == counts.reused + counts.answered + counts.failed_now == len(set(items))
        assert counts.reused == len(known & set(items))
        assert sum(one.count for one in counts.failed.values()) == len(bad(failing) & set(items))
        known |= {item for item in items if not (item.query in failing and not failing[item.query].kind.lasting)}


def bad(failing) -> set[WorkItem]:
    return {WorkItem(query) for query in failing}


DRIVER = """
import sys
from functools import partial
from pathlib import Path

import ray

from sweep.vlm.answers import cached as service
from sweep.vlm.answers.writer import AnswerWriter
from sweep.vlm.pool.pool import Pool
from tests.sweep.vlm.answers.test_cached import evaluate, items_of
from tests.sweep.vlm.pool.answerers import Factory, Table
from tests.sweep.vlm.pool.sizes import SMALL

store, notes, address = sys.argv[1:]
service.AnswerWriter = partial(AnswerWriter, rows=32, seconds=0.2)
ray.init(address, log_to_driver=False, logging_level="ERROR")
with Pool(Factory(Path(notes), seconds=0.01), Table(), SMALL, "run") as pool:
    evaluate(Path(store), items_of(400), pool.run)
"""


def wait_until(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("ray_session")
def test_a_killed_driver_resumes_where_it_was(tmp_path: Path) -> None:
    import ray

    from sweep.vlm.pool.pool import Pool
    from tests.sweep.vlm.pool.answerers import Factory, Table, calls, lines
    from tests.sweep.vlm.pool.sizes import SMALL

    notes, store, items = tmp_path / "notes", tmp_path / "store", items_of(400)
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, store, notes, address], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    wait_until(lambda: len(calls(notes)) >= 150 or driver.poll() is not None)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL, "it ended before it was killed"
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in calls(notes, "loaded")))  # its actors end too

    stored = AnswerStore(stored_at(store)).lookup({item: wanted_of(item) for item in items})
    assert 50 < len(stored) < 400
    before = len(lines(notes))
    with Pool(Factory(notes), Table(), SMALL, "run") as pool:
        resumed = evaluate(store, items, pool.run)
        asked = Counter(what for _, what in lines(notes)[before:] if what != "loaded")
        undisturbed = evaluate(tmp_path / "other", items, pool.run)
    assert asked == Counter(f"{item.query}-{item.query + 1}" for item in items if item not in stored)
    assert resumed.results == undisturbed.results
    assert resumed.counts == Counts(400, 400, len(stored), 400 - len(stored), 0, {})

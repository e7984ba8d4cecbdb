"""A command that is handed in again goes on with its run, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.driver.again import existing_run, request_to_go_on
from sweep.errors import RunError
from sweep.plan.requests import Request, request_of_text
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at


def again(run: RunPaths, text: str | None = None, *overrides: str) -> Request:
    return request_of_text(text or run.space_file.read_text(), "mine.yaml", run.shared, overrides=overrides)


def test_a_name_without_a_run_begins_one(tmp_path: Path) -> None:
    assert existing_run(stored_at(tmp_path), "mine") is None
    with pytest.raises(RunError, match="--resume: which run"):
        existing_run(stored_at(tmp_path), None)


def test_the_same_space_goes_on_with_what_is_set_now(good_run: RunPaths) -> None:
    found = existing_run(good_run.root.parent, good_run.name)
    assert found is not None
    said: list[str] = []
    request = request_to_go_on(found, again(found, None, "budget.trials=99"), said.append)
    assert request.exists and request.space.budget.trials == 99 and said == []


def test_another_layout_is_the_same_space_and_another_value_is_not(good_run: RunPaths) -> None:
    text = good_run.space_file.read_text()
    assert request_to_go_on(good_run, again(good_run, f"# mine\n{text}"), lambda line: None).exists
    other = f"{text}\nmax_retries: 7\n"
    with pytest.raises(RunError, match=r"exists and has another space \(max_retries: 3 -> 7\): take another --name"):
        request_to_go_on(good_run, again(good_run, other), lambda line: None)


def test_a_driver_that_is_still_ending_is_waited_for(good_run: RunPaths) -> None:
    """Its cluster lost the head, and it needs a minute to be sure."""
    said: list[str] = []
    lock = good_run.lock_file.lock()
    lock.acquire()
    assert request_to_go_on(good_run, again(good_run), said.append, lambda seconds: lock.release()).exists
    assert said == [f"run {good_run.name} still has a driver; waiting for its end ..."]

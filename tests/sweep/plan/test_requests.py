"""A run is asked for again as it began, whatever the defaults of this version are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selector.errors import UserError
from selector.settings import ValidationMetric, ValidationSettings
from sweep.driver.create import NewRun, create_run
from sweep.plan.requests import request_of_run
from sweep.runs.paths import RunPaths
from sweep.space import find_space, parse_space
from sweep.space.files import shipped_spaces
from sweep.storage.local import stored_at
from tests.sweep.commands import write_space
from tests.sweep.plans import plan_of_space


def run_that_began_with(metric: str, folder: Path, **changes: object) -> RunPaths:
    """A run of a version whose default was this metric."""
    plan = plan_of_space(write_space(folder, **changes))
    paths = create_run(plan, NewRun(stored_at(folder / "runs")))
    record = json.loads(paths.run_file.read_text())
    record["space"]["validation"]["metric"] = metric
    paths.run_file.write_text(json.dumps(record))
    return paths


@pytest.mark.parametrize("name", shipped_spaces())
def test_the_calibrated_metric_is_the_default_everywhere(name: str) -> None:
    assert ValidationSettings().metric is ValidationMetric.LISTWISE_CALIBRATED
    assert parse_space(*find_space(name)).validation.metric is ValidationMetric.LISTWISE_CALIBRATED


def test_a_run_keeps_the_metric_that_was_the_default_when_it_began(tmp_path: Path) -> None:
    paths = run_that_began_with("listwise", tmp_path, validation={"tau": 0.5})
    found = request_of_run(paths)
    assert found.space.validation == ValidationSettings(metric=ValidationMetric.LISTWISE, tau=0.5)
    assert found.answers is found.space


def test_a_metric_that_the_file_names_is_taken_from_the_file(tmp_path: Path) -> None:
    paths = run_that_began_with("listwise", tmp_path, validation={"metric": "rce"})
    assert request_of_run(paths).space.validation.metric is ValidationMetric.RCE


def test_a_record_with_another_metric_is_refused(tmp_path: Path) -> None:
    paths = run_that_began_with("guess", tmp_path)
    with pytest.raises(UserError, match=r"run\.json: space\.validation\.metric is 'guess': damaged"):
        request_of_run(paths)

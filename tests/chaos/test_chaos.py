"""The short form: one run whose pool actor, worker and driver are killed. `make chaos` is the long form."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.attempts import Kill
from tests.chaos.checks import Findings, inspect
from tests.chaos.harness import Harness, Reference
from tests.chaos.processes import Kind
from tests.chaos.report import Result
from tests.chaos.spaces import NAME, Mode, space

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BUDGET = space(Mode.ONE, quick=True)["budget"]["trials"]


KILLS = [Kill(Kind.POOL, 0.5), Kill(Kind.TRIAL, 0.0, epochs=8), Kill(Kind.DRIVER, 0.0, epochs=22)]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(tmp_path_factory.mktemp("chaos"), seed=0, quick=True)


@pytest.fixture(scope="module")
def both(harness: Harness) -> tuple[Reference, Result]:
    """An undisturbed run and a disturbed one, side by side."""
    with ThreadPoolExecutor(1) as threads:
        reference = threads.submit(harness.reference, Mode.ONE)
        course = harness.course("killed", Mode.ONE, KILLS)
        return reference.result(), harness.judged("short form", Mode.ONE, course)


def test_killed_and_resumed_is_as_if_nothing_had_happened(both: tuple[Reference, Result]) -> None:
    _, result = both
    told = "\n".join(result.lines())
    assert [one.kind for one in result.course.killed] == [Kind.POOL, Kind.TRIAL, Kind.DRIVER], told
    assert result.sound and len(result.recoveries) == 1, told


def repeat_an_epoch(run: Path) -> None:
    file = run / "trials/0000/epochs.jsonl"
    file.write_text(file.read_text() + file.read_text().splitlines()[-1] + "\n")


def change_a_value(run: Path) -> None:
    file = run / "trials/0001/epochs.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[1]["val_loss"] += 0.5
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def change_the_study(statement: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        with closing(sqlite3.connect(run / "study.db")) as database:
            database.execute(statement)
            database.commit()

    return change


def damage_a_checkpoint(run: Path) -> None:
    file = next(run.glob("trials/*/best/step-*/model.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])


def change_the_table(run: Path) -> None:
    file = run / "evaluations/declared/evaluation.json"
    file.write_text(file.read_text().replace('"rank": 1', '"rank": 9', 1))


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        (lambda run: None, lambda found: found.sound),
        (repeat_an_epoch, lambda found: found.duplicated == 1),
        (change_a_value, lambda found: "history" in "".join(found.problems)),
        (change_the_study("delete from trials where number = 2"), lambda found: found.lost == 1),
        (change_the_study("update trials set state = 'RUNNING' where number = 3"), lambda found: found.orphans == 1),
        (damage_a_checkpoint, lambda found: "SHA-256" in "".join(found.problems)),
        (change_the_table, lambda found: found.unequal == ["evaluation.json"]),
    ],
    ids=["nothing", "epoch twice", "two values", "lost trial", "orphan", "checkpoint", "table"],
)  # fmt: skip
def test_the_checks_see_what_they_should(
    both: tuple[Reference, Result], tmp_path: Path, damage: Callable[[Path], None], seen: Callable[[Findings], bool]
) -> None:
    undisturbed, _ = both
    run = tmp_path / "runs" / NAME
    shutil.copytree(undisturbed.run, run)
    damage(run)
    found = inspect(run, undisturbed.run, BUDGET)
    assert seen(found), found

"""Single changes to a finished run. Each is named, with the place and what is right, and ends in exit code 1."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.driver.session import open_session
from sweep.errors import RunError
from sweep.evaluation.answer_table import read_answers
from sweep.execution.ray.options import RayOptions
from sweep.plan.plan import Plan
from sweep.report.verification import print_verification
from sweep.results.differences import Fault, faults_of, without_echoes
from sweep.results.seal import SEAL, seal
from sweep.results.verify import verify
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.storage.local import stored_at
from sweep.study import read_summaries
from sweep.study.ranking import rank
from sweep.terminal.console import Screen
from tests.sweep.finished import evaluated
from tests.sweep.plans import screen_on
from tests.sweep.results.changes import (
    ANSWERS,
    BY_ANSWERS,
    CHANGES,
    HASHED,
    SPACE_OR_DATA,
    TABLE,
    VALUE,
    append,
    edit,
    plan_of,
    remove,
    sql,
)


@pytest.fixture(scope="module")
def plan(finished: RunPaths) -> Plan:
    return plan_of(finished)


IN_SHORT = list(CHANGES)[::2]
"""Every change is verified by the same walk over the run. `make test-long` makes all of them."""


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in IN_SHORT else pytest.mark.long) for one in CHANGES]
)
def test_a_single_change_is_named(name: str, finished: RunPaths, copy: Path, plan: Plan) -> None:
    change, expected = CHANGES[name]
    paths = RunPaths.at(copy)
    change(copy)
    again = name.startswith(SPACE_OR_DATA)
    found = verify(paths, plan_of if again else (lambda paths: plan) if name in BY_ANSWERS else None)
    said = [fault.sentence for fault in found.faults]
    for fragment in expected:
        assert any(fragment in one for one in said), said
    assert len(said) < 20, said
    for fault in found.faults:
        if fault.where and fault.file.endswith(".json") and re.fullmatch(r'"[^"]*"|[-+.\de]+', fault.right):
            assert fault.right in (finished.root.local() / fault.file).read_text(), "that is right which was there"
    assert print_verification(Screen(file=io.StringIO(), width=80), found) == 1
    if name in HASHED:
        assert verify(paths, None).faults, "hashes alone tell that something was changed"


def test_a_run_that_nobody_changed_is_verified(finished: RunPaths, copy: Path, plan: Plan) -> None:
    answers = len(read_answers(stored_at(copy / ANSWERS)))
    for paths, make in ((finished, plan_of), (RunPaths.at(copy), lambda paths: plan)):
        found = verify(paths, make)
        assert found.faults == [] and found.notes == [] and (found.trials, found.answers) == (5, answers)
        looked = f"5 trials, {found.checkpoints} checkpoints, {answers:,} answers"
        assert found.sentence == f"verified: {looked}; nothing differs"
        assert len(found.epochs) == len(list(copy.glob("trials/*/best/*"))) and all(row.agrees for row in found.epochs)
        assert "similarity" in {row.row for row in found.rows} and any("fresh seeds" in row.row for row in found.rows)
        assert all(row.stored == pytest.approx(row.recomputed) and not row.faults for row in found.rows)
    quick = verify(finished, None)
    assert quick.sentence == f"verified: 5 trials, {found.checkpoints} checkpoints; nothing differs"
    assert not quick.epochs and not quick.rows


def test_evaluations_side_by_side_are_all_verified(copy: Path, plan: Plan) -> None:
    """The other one asks fewer questions of the validation split, and of a run in which other trials were best."""
    paths = RunPaths.at(copy)
    record = read_record(paths)
    ranked = rank(read_summaries(record.storage_url(paths), record.study))
    assert plan.evaluation is not None
    changes = {"split": "val", "train_rows": False, "racing": None, "seed": 3, "top": 1}
    settings = plan.evaluation.settings.replace(**changes)
    other = replace(plan, evaluation=replace(plan.evaluation, settings=settings))
    complete = [row for row in ranked if row.is_complete]
    with open_session(paths, RayOptions(), screen_on(io.StringIO())) as session:
        evaluated(other, complete[1:], session, "other")
    seal(paths)
    found = verify(paths, lambda paths: plan)
    assert found.faults == [] and {row.evaluation for row in found.rows} == {"declared", "other"}
    file = "evaluations/other/evaluation.json"
    edit(file, "rows.0.mean.high", 0.99)(copy)
    (fault,) = verify(paths, lambda paths: plan).faults
    assert fault.sentence.startswith(f"{file}: rows[0].mean.high: 0.99; right: ")


def test_what_verify_prints_fits_80_columns(copy: Path, plan: Plan) -> None:
    edit(TABLE, "rows.1.mean.low", 0.5)(copy)
    sql(VALUE)(copy)
    console = Screen(file=io.StringIO(), width=80)
    found = verify(RunPaths.at(copy), lambda paths: plan)
    assert print_verification(console, found) == 1
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("differs: 2 places (5 trials, ") and "study.db: trial 0.value" in lines
    assert f"  0.5; right: {json.loads((copy / 'trials/0000/study.json').read_text())['value']}" in lines
    assert sum(line.endswith("differs") for line in lines) == 1


def test_reading_a_run_changes_nothing_in_it(copy: Path) -> None:
    """SQLite may write to a database that is only read."""
    for _ in range(2):
        assert verify(RunPaths.at(copy), None).faults == []
        with closing(sqlite3.connect(copy / "study.db")) as database:
            database.execute("vacuum")


# Runs that are not sealed ---------------------------------------------------------------------------------------------


def as_of_version_0_1(run: Path) -> None:
    """What an earlier version did not write."""
    (run / SEAL).unlink()
    for file in run.glob("trials/*/study.json"):
        file.unlink()
    for file in run.glob("**/manifest.json"):
        manifest = json.loads(file.read_text())
        if manifest.pop("files", None) is not None:
            file.write_text(json.dumps(manifest, indent=2) + "\n")


@pytest.mark.parametrize(
    "name", ["value", "params", "epochs.jsonl, val_loss", "manifest, val_loss", "interval", "text"]
)
def test_an_earlier_run_is_verified_as_far_as_possible(name: str, copy: Path, plan: Plan) -> None:
    paths = RunPaths.at(copy)
    as_of_version_0_1(copy)
    found = verify(paths, lambda paths: plan)
    assert found.faults == [] and "no seal, since it is of version 0.1" in found.notes[0]
    CHANGES[name][0](copy)
    assert verify(paths, lambda paths: plan).faults


def test_fields_and_words_of_another_version_are_no_difference(copy: Path, plan: Plan) -> None:
    """The evaluation of an earlier version has fewer fields, and says its sentences otherwise."""
    paths = RunPaths.at(copy)
    edit(TABLE, "winner.sentence", "The winner is the best.")(copy)
    for file, place in ((TABLE, ("audit",)), (TABLE, ("source",)), ("run.json", ("space", "notify"))):
        document = json.loads((copy / file).read_text())
        owner = document
        for key in place[:-1]:
            owner = owner[key]
        del owner[place[-1]]
        (copy / file).write_text(json.dumps(document))
    assert {fault.file for fault in verify(paths, None).faults} == {TABLE, "run.json"}, "but the seal has been told"
    seal(paths)
    paths.ranking_file.write_json({**json.loads(paths.ranking_file.read_bytes())})
    assert verify(paths, lambda paths: plan).faults == []


def test_a_run_that_has_not_ended_is_verified_as_far_as_possible(copy: Path, plan: Plan) -> None:
    paths = RunPaths.at(copy)
    for name in (SEAL, "ranking.json"):
        remove(name)(copy)
    found = verify(paths, lambda paths: plan)
    assert found.faults == [] and "no seal, since it has not ended" in found.notes[0]
    sql(VALUE)(copy)
    assert [fault.place for fault in verify(paths, None).faults] == ["study.db: trial 0.value"]


def test_data_that_is_nowhere_is_an_error_and_no_difference(copy: Path) -> None:
    def gone(paths: RunPaths) -> Plan:
        raise RunError("data: no such file")

    with pytest.raises(RunError, match="no such file"):
        verify(RunPaths.at(copy), gone)
    append("space.yaml")(copy)
    found = verify(RunPaths.at(copy), gone)
    assert found.notes == ["nothing was computed again: data: no such file"]
    assert [fault.file for fault in found.faults] == ["space.yaml"]


# Which file is to blame -----------------------------------------------------------------------------------------------


def test_differences_name_every_place() -> None:
    stored = {"a": [1, 2.0, {"b": "x"}], "c": float("nan"), "d": None, "only": True}
    right = {"a": [1, 2.00000001, {"b": "y"}, 4], "c": float("nan"), "d": 0, "e": 1}
    assert [(one.where, one.stored, one.right) for one in faults_of("f", stored, right, tolerance=1e-6)] == [
        ("a[2].b", '"x"', '"y"'),
        ("a[3]", "missing", "4"),
        ("d", "null", "0"),
        ("only", "true", "missing"),
        ("e", "missing", "1"),
    ]
    assert [one.where for one in faults_of("f", 2.0, 2.00000001, where="x")] == ["x"]
    assert faults_of("f", {"x": True}, {"x": 1})[0].where == "x"


def test_of_two_files_that_disagree_the_one_that_was_changed_is_named() -> None:
    by_seal = Fault("b.json", "", "changed", "hash", SEAL)
    copied, derived = Fault("a.json", "x", "1", "2", "b.json"), Fault("a.json", "y", "1", "2", "b.json", derived=True)
    assert without_echoes([by_seal, copied, derived], SEAL) == [Fault("b.json", "x", "2", "1", "a.json")]
    assert without_echoes([by_seal, derived], SEAL) == [by_seal]
    assert without_echoes([copied, derived], SEAL) == [copied, derived]
    own = Fault("b.json", "z", "3", "4")
    assert without_echoes([by_seal, copied, own], SEAL) == [own]
    gone = Fault("b.json", "", "missing", "there", SEAL)
    assert without_echoes([gone, own], SEAL) == [own, gone]

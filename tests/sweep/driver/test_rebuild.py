"""A study that was lost, built again from what each trial has written down. Without Ray."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweep.driver.session import Session, open_session
from sweep.driver.trial_records import TrialRecords, rebuild_study
from sweep.errors import RunError, StudyError
from sweep.execution.coordinator import Coordinator
from sweep.execution.ray.options import RayOptions
from sweep.plan.make import Answers, make_plan
from sweep.plan.plan import Plan, require_data
from sweep.plan.requests import request_of_run
from sweep.results.verify import verify
from sweep.runs.paths import RunPaths, sqlite_url
from sweep.runs.record import read_record
from sweep.study import AskedTrial, StudyOwner
from sweep.study.records import read_records, record_of, store_records
from sweep.trials.trial import Trial, load_shared
from tests.sweep.finished import trained
from tests.sweep.plans import screen_on


@pytest.fixture(scope="module")
def plan(finished: RunPaths) -> Plan:
    return require_data(make_plan(request_of_run(finished), Answers.STORED))


def records_of(paths: RunPaths) -> list[dict[str, Any]]:
    record = read_record(paths)
    return read_records(record.storage_url(paths), record.study)


@contextmanager
def session_of(paths: RunPaths) -> Iterator[tuple[Session, io.StringIO]]:
    screen = io.StringIO()
    with open_session(paths, RayOptions(), screen_on(screen)) as session:
        yield session, screen


def missing(run: Path) -> None:
    for file in run.glob("study.db*"):
        file.unlink()


def empty(run: Path) -> None:
    (run / "study.db").write_bytes(b"")


def without_trials(run: Path) -> None:
    plan = require_data(make_plan(request_of_run(RunPaths.at(run)), Answers.UNUSED))
    missing(run)
    StudyOwner.open(sqlite_url(run / "study.db"), "mine", plan.space).close()


def test_a_record_is_there_from_the_first_epoch_on_and_never_before_a_trial_has_begun(
    finished: RunPaths, plan: Plan, tmp_path: Path
) -> None:
    """Without a folder of trials, a run that cannot get its Ray is taken back."""
    paths = RunPaths.at(tmp_path / "mine")
    for name in ("run.json", "space.yaml"):
        (paths.root / name).write_bytes((finished.root / name).read_bytes())
    owner = StudyOwner.open(sqlite_url(tmp_path / "mine/study.db"), "mine", plan.space)
    coordinator = Coordinator(owner, 2, [TrialRecords(paths, owner)])
    first = coordinator.next_trial()
    assert isinstance(first, AskedTrial) and not paths.trials_folder.exists()
    with session_of(paths) as (session, _):
        context = session.trial_context(plan)
    data, evaluate = load_shared(plan.dataset, context, 0)
    results = iter(Trial(context, paths, 0, first.settings, data, evaluate))
    coordinator.epoch(next(results))
    assert json.loads(paths.trial(0).study_file.read_bytes())["params"] == first.params
    written = paths.trial(0).study_file.local().stat().st_ino
    second = coordinator.next_trial()
    assert isinstance(second, AskedTrial)
    assert paths.trial(0).study_file.local().stat().st_ino == written, (
        "nobody writes a record for what another trial does"
    )
    record = json.loads(paths.trial(1).study_file.read_bytes())
    assert record["params"] == second.params and record["state"] == "running"
    coordinator.failed(1, "no memory")
    assert json.loads(paths.trial(1).study_file.read_bytes()) == record_of(owner.trials()[1])
    assert coordinator.error is None
    owner.close()


@pytest.mark.parametrize("lose", [missing, empty, without_trials])
def test_a_lost_study_is_refused_and_built_again_as_it_was(
    copy: Path, plan: Plan, lose: Callable[[Path], None]
) -> None:
    paths = RunPaths.at(copy)
    before = records_of(paths)
    lose(copy)
    with session_of(paths) as (session, screen):
        what = "is missing" if lose is missing else "has no trials"
        with pytest.raises(RunError, match=rf"study.db {what}, though trials have run: .*--rebuild-study"):
            session.check_unchanged(plan)
        rebuild_study(plan, session)
        session.check_unchanged(plan)
        assert "study built again from the records of 5 trials" in screen.getvalue()
    assert records_of(paths) == before
    if lose is not without_trials:  # that one began at another time
        assert verify(paths, None).faults == [], "the seal knows the study, so it is the same"


def test_what_the_sampler_proposes_next_is_the_same(finished: RunPaths, copy: Path, plan: Plan) -> None:
    paths = RunPaths.at(copy)
    file = copy.parent / "other.db"
    with closing(sqlite3.connect(copy / "study.db")) as database, closing(sqlite3.connect(file)) as other:
        database.backup(other)
    empty(copy)
    with session_of(paths) as (session, _):
        rebuild_study(plan, session)
    space = plan.space.replace(budget=plan.space.budget.replace(trials=8))
    proposed = []
    for place in (copy / "study.db", file):
        owner = StudyOwner.open(sqlite_url(place), "mine", space)
        asked = owner.ask()
        assert isinstance(asked, AskedTrial) and asked.number == 5
        proposed.append(asked.params)
        owner.close()
    assert proposed[0] == proposed[1]


def test_a_trial_that_was_running_goes_on(copy: Path, plan: Plan) -> None:
    """Its record is that of its start, and the study had heard of some of its epochs."""
    paths = RunPaths.at(copy)
    before, ranking = records_of(paths), json.loads(paths.ranking_file.read_bytes())
    own = paths.trial(4)
    record = json.loads(own.study_file.read_bytes())
    attributes = {name: record["user_attrs"][name] for name in ("plan", "trial")}
    started = {"state": "running", "value": None, "ended": None, "intermediate_values": {}, "user_attrs": attributes}
    own.study_file.write_json({**record, **started})
    lines = own.history_file.read_text().splitlines()
    own.history_file.write_text("\n".join(lines[:2]) + "\n")
    own.best_folder.remove()
    empty(copy)
    with session_of(paths) as (session, _):
        rebuild_study(plan, session)
        assert list(records_of(paths)[4]["intermediate_values"]) == ["1", "2"]
        ranked = trained(plan, session)
    after = records_of(paths)
    same = ("number", "state", "value", "params", "distributions", "intermediate_values", "system_attrs")
    for one, other in zip(before, after, strict=True):
        assert {name: one[name] for name in same} == {name: other[name] for name in same}
    assert after[:4] == before[:4] and after[4]["user_attrs"]["trial"]["attempt"] == 2
    assert [row.number for row in ranked if row.is_complete] == [
        row["number"] for row in ranking["trials"] if row["state"] == "complete"
    ]
    assert not paths.ranking_file.exists(), "its presence means that the run has ended"
    assert json.loads(own.study_file.read_bytes()) == after[4], "its record is that of its end now"


def test_a_trial_of_which_nothing_is_left_counts_as_failed(copy: Path, plan: Plan) -> None:
    paths = RunPaths.at(copy)
    before = records_of(paths)
    paths.trial(1).root.remove()
    empty(copy)
    with session_of(paths) as (session, screen):
        rebuild_study(plan, session)
        assert "records of 4 trials; nothing is left of 1, which count as failed" in screen.getvalue()
    after = records_of(paths)
    assert after[1]["state"] == "fail" and "nothing of it was left" in after[1]["user_attrs"]["reason"]
    assert [*after[:1], *after[2:]] == [*before[:1], *before[2:]]


def test_a_study_with_trials_is_never_built_again(copy: Path, plan: Plan) -> None:
    paths = RunPaths.at(copy)
    before = (copy / "study.db").read_bytes()
    with (
        session_of(paths) as (session, _),
        pytest.raises(RunError, match="the study of run mine has 5 trials, and is not built again"),
    ):
        rebuild_study(plan, session)
    assert (copy / "study.db").read_bytes() == before
    with pytest.raises(StudyError, match="has trials: it is not built again"):
        store_records(sqlite_url(copy / "study.db"), "mine", plan.space, records_of(paths))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.write_text("{"), "trials/0001/study.json: cannot be read as the record of a trial"),
        (lambda file: file.write_text("{}"), "cannot be read as the record of a trial .damaged .KeyError"),
        (lambda file: file.write_text(file.read_text().replace("hard_plus", "soft_minus")), "cannot be built again"),
    ],
)
def test_a_damaged_record_is_named_and_leaves_nothing(
    copy: Path, plan: Plan, change: Callable[[Path], object], said: str
) -> None:
    paths = RunPaths.at(copy)
    change(copy / "trials/0001/study.json")
    missing(copy)
    with session_of(paths) as (session, _), pytest.raises(RunError, match=said):
        rebuild_study(plan, session)
    assert not list(copy.glob("*study.db*"))


def test_a_run_without_records_cannot_be_built_again(copy: Path, plan: Plan) -> None:
    for file in copy.glob("trials/*/study.json"):
        file.unlink()
    missing(copy)
    with (
        session_of(RunPaths.at(copy)) as (session, _),
        pytest.raises(RunError, match="no trial has a record of itself"),
    ):
        rebuild_study(plan, session)


def test_another_database_gets_the_whole_study_or_none(finished: RunPaths, plan: Plan, tmp_path: Path) -> None:
    url, records = sqlite_url(tmp_path / "other.db"), records_of(finished)
    broken = [*records[:-1], {**records[-1], "params": {**records[-1]["params"], "reward.mode": "none"}}]
    with pytest.raises(StudyError, match="damaged"):
        store_records(url, "mine", plan.space, broken)
    store_records(url, "mine", plan.space, records)
    assert read_records(url, "mine") == records

"""What is kept in memory is what the database holds, and the database holds what Optuna's own storage would write."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine.default import DefaultDialect

from sweep.study.kept import KeptStorage
from sweep.study.tables import read_trials

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-5, 1e-2, log=True),
    "batch": IntDistribution(8, 64, step=8),
    "mode": CategoricalDistribution(("soft", "hard", None, True)),
}
VALUES = st.floats(allow_nan=True, allow_infinity=True, width=64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["a", "b", "tpe:relative_params:0"])
CHANGES = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(["bare", "waiting", "ended"])),
    st.tuples(st.just("param"), st.sampled_from(sorted(DISTRIBUTIONS)), st.integers(0, 3)),
    st.tuples(st.just("step"), st.integers(1, 5), VALUES),
    st.tuples(st.just("user"), KEYS, JSON),
    st.tuples(st.just("system"), KEYS, JSON),
    st.tuples(st.just("state"), st.sampled_from(TrialState), st.none() | st.floats(allow_nan=False)),
)


def made(tables: RDBStorage, name: str) -> int:
    return tables.create_new_study([optuna.study.StudyDirection.MINIMIZE], name)


@pytest.fixture
def both(tmp_path: Path) -> tuple[RDBStorage, KeptStorage, int]:
    tables = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    study = made(tables, "one")
    return tables, KeptStorage(tables, study), study


def template(kind: str) -> FrozenTrial | None:
    """What a new trial begins with: nothing, a place in the sweep, or all that a finished trial has."""
    if kind == "waiting":
        return optuna.trial.create_trial(state=TrialState.WAITING, user_attrs={"plan": {"repeat": 0}})
    if kind != "ended":
        return None
    return optuna.trial.create_trial(
        state=TrialState.PRUNED,
        value=0.25,
        params={"lr": 1e-4, "mode": None},
        distributions={name: DISTRIBUTIONS[name] for name in ("lr", "mode")},
        user_attrs={"a": [1, "b"]},
        system_attrs={"b": {"c": 0.5}},
        intermediate_values={2: 0.25, 1: float("nan"), 3: float("inf")},
    )


def apply(storage: BaseStorage, study: int, change: tuple[Any, ...], place: int) -> object:
    """One call of a storage, on the trial at a place; what it answers or raises."""
    kind, *rest = change
    trials = storage.get_all_trials(study, deepcopy=False)
    if kind == "create" or not trials:
        storage.create_new_trial(study, template(str(rest[0])))
        return None
    trial = trials[place % len(trials)]
    identity = trial._trial_id
    try:
        if kind == "param":
            name, choice = rest
            choices = {"lr": (1e-5, 1e-4, 1e-3, 1e-2), "batch": (8, 16, 24, 64), "mode": (0, 1, 2, 3)}[name]
            if name in trial.params:
                return None  # Optuna ignores the second one, with a message in its log
            return storage.set_trial_param(identity, name, float(choices[choice]), DISTRIBUTIONS[name])
        if kind == "step":
            return storage.set_trial_intermediate_value(identity, *rest)
        if kind == "user":
            return storage.set_trial_user_attr(identity, *rest)
        if kind == "system":
            return storage.set_trial_system_attr(identity, *rest)
        state, value = rest
        if state is TrialState.WAITING:
            return None
        values = None if value is None or state is TrialState.RUNNING else [value]  # what runs has none
        return storage.set_trial_state_values(identity, state, values)
    except UpdateFinishedTrialError:
        return "ended"


def seen(trials: list[FrozenTrial]) -> list[object]:
    """What must be equal; the moments at which two storages were called are not."""
    return [
        (
            trial.number, trial.state, trial.values, list(trial.params.items()), trial.distributions, trial.user_attrs,
            trial.system_attrs, [(step, repr(value)) for step, value in sorted(trial.intermediate_values.items())],
            trial.datetime_start is None, trial.datetime_complete is None,
        )
        for trial in trials
    ]  # fmt: skip


@pytest.fixture(scope="module")
def shared_tables() -> RDBStorage:
    return RDBStorage("sqlite://")


@settings(max_examples=40, deadline=None)
@given(changes=st.lists(st.tuples(CHANGES, st.integers(0, 3)), max_size=14), together=st.booleans())
def test_any_course_leaves_what_optunas_own_storage_leaves(
    shared_tables: RDBStorage, changes: list[tuple[tuple[Any, ...], int]], together: bool
) -> None:
    first, second = (made(shared_tables, f"study-{len(shared_tables.get_all_studies())}") for _ in range(2))
    optunas, kept = optuna.storages.get_storage(shared_tables), KeptStorage(shared_tables, second)
    answers = [apply(optunas, first, change, place) for change, place in changes]
    if together:
        with kept.transaction():
            ours = [apply(kept, second, change, place) for change, place in changes]
    else:
        ours = [apply(kept, second, change, place) for change, place in changes]
    assert ours == answers
    in_memory = seen(kept.get_all_trials(second))
    stored = shared_tables.get_all_trials(second)
    assert in_memory == seen(stored) == seen(optunas.get_all_trials(first))
    with shared_tables.engine.connect() as connection:
        read = read_trials(connection, second)
    assert read == stored or any(value != value for trial in stored for value in trial.intermediate_values.values())
    assert seen(read) == in_memory and seen(KeptStorage(shared_tables, second).get_all_trials(second)) == in_memory


def test_moments_are_those_of_the_database(both: tuple[RDBStorage, KeptStorage, int]) -> None:
    tables, kept, study = both
    identity = kept.create_new_trial(study)
    kept.set_trial_state_values(identity, TrialState.COMPLETE, [1.0])
    (ours,), (stored,) = kept.get_all_trials(study), tables.get_all_trials(study)
    assert ours == stored and ours.datetime_complete == stored.datetime_complete is not None


def test_of_a_transaction_that_is_left_by_an_error_nothing_is_kept(both: tuple[RDBStorage, KeptStorage, int]) -> None:
    tables, kept, study = both
    identity = kept.create_new_trial(study)
    with pytest.raises(ZeroDivisionError), kept.transaction():
        kept.set_trial_user_attr(identity, "a", 1)
        kept.set_study_system_attr(study, "b", 1)
        raise ZeroDivisionError
    assert kept.get_trial(identity) == tables.get_trial(identity) and not kept.get_trial(identity).user_attrs
    assert not kept.has_study_system_attr("b") and tables.get_study_system_attrs(study) == {}


def test_when_a_write_fails_the_database_is_believed(
    both: tuple[RDBStorage, KeptStorage, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, kept, study = both
    identity = kept.create_new_trial(study)

    def fail(self: object, connection: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(DefaultDialect, "do_commit", fail)
        with pytest.raises(StorageInternalError):
            kept.set_trial_intermediate_value(identity, 1, 0.5)
    assert kept.get_trial(identity).intermediate_values == {} == tables.get_trial(identity).intermediate_values
    kept.set_trial_intermediate_value(identity, 1, 0.5)
    assert tables.get_trial(identity).intermediate_values == {1: 0.5}


def test_what_others_add_is_seen_and_what_they_end_stays_ended(
    both: tuple[RDBStorage, KeptStorage, int], tmp_path: Path
) -> None:
    tables, kept, study = both
    identity = kept.create_new_trial(study)
    other = optuna.load_study(study_name="one", storage=f"sqlite:///{tmp_path / 'study.db'}")
    other.enqueue_trial({"lr": 1e-3})
    other.tell(0, 7.0)
    kept.refresh()
    assert kept.get_all_trials(study)[1].system_attrs == {"fixed_params": {"lr": 1e-3}}
    with pytest.raises(UpdateFinishedTrialError):
        kept.set_trial_intermediate_value(identity, 1, 0.5)
    assert kept.get_trial(identity).value == 7.0 and tables.get_trial(identity).intermediate_values == {}


def test_what_a_trial_of_optuna_notes_for_itself_changes_nothing_kept(
    both: tuple[RDBStorage, KeptStorage, int],
) -> None:
    tables, kept, study = both
    trial = optuna.load_study(study_name="one", storage=kept).ask()
    with kept.transaction():
        drawn = trial.suggest_float("lr", 1e-5, 1e-2, log=True)
        trial.set_user_attr("a", [1])
    (stored,) = tables.get_all_trials(study)
    assert stored.params == {"lr": drawn} and stored.user_attrs == {"a": [1]}


def test_a_trial_that_another_program_has_ended_stays_as_it_is(
    make_space: Any, open_owner: Any, tmp_path: Path
) -> None:
    owner = open_owner(make_space(sampler="{type: random}", pruner="{type: none}"))
    for number, late in enumerate((owner.report, owner.complete, owner.prune, owner.note_worker)):
        assert owner.ask().number == number
        optuna.load_study(study_name="fake", storage=f"sqlite:///{tmp_path / 'study.db'}").tell(number, 7.0)
        arguments = {owner.report: (1, 0.5), owner.complete: (0.5,)}.get(late, ("a",))
        assert not late(number, *arguments)
        row = owner.summaries()[number]
        assert (row.state, row.value, row.last_step) == (TrialState.COMPLETE, 7.0, None)


def test_asked_reported_and_told_takes_few_transactions(
    both: tuple[RDBStorage, KeptStorage, int], make_space: Any, open_owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a wait for the disk. Optuna's own storage makes some twenty."""
    owner, written = open_owner(make_space(sampler="{type: tpe, n_startup_trials: 1}", pruner="{type: none}")), []
    commit = DefaultDialect.do_commit

    def counted(self: DefaultDialect, connection: Any) -> None:
        written.append(connection.in_transaction)
        commit(self, connection)

    for number in range(3):
        monkeypatch.setattr(DefaultDialect, "do_commit", counted)
        written.clear()
        assert owner.ask().number == number
        owner.report(number, 1, 0.5)
        owner.complete(number, 0.5)
        assert sum(written) == 4, "made, drawn, reported, ended"
        monkeypatch.undo()


def test_a_study_is_read_with_as_many_questions_however_large_it_is(
    both: tuple[RDBStorage, KeptStorage, int],
) -> None:
    tables, kept, study = both
    for _ in range(3):
        kept.create_new_trial(study)
    asked: list[str] = []
    with tables.engine.connect() as connection:
        connection.connection.driver_connection.set_trace_callback(asked.append)
        read_trials(connection, study)
        assert len([text for text in asked if text.startswith("SELECT")]) == 6

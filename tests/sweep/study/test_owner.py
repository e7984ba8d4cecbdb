"""Budgets, order, endings and reading, on a real SQLite file."""

import math
import pickle
import sqlite3

import optuna
import pytest

from selector.health import Verdict
from sweep.errors import StudyError
from sweep.runs.paths import sqlite_url
from sweep.study import AskedTrial, NoTrial, Standing, StudyOwner, TrialState, read_summaries

RANDOM = {"sampler": "{type: random}", "pruner": "{type: none}"}


def test_enqueued_points_come_first_then_samples(make_space, open_owner):
    points = "[{grpo.lr: 1e-4}, {grpo.ppo_clip_only: false, grpo.kl_beta: 0.1}, {grpo.batch_size: 16}]"
    owner = open_owner(make_space(enqueue=points, **RANDOM))
    first, second, third, fourth = (owner.ask() for _ in range(4))
    assert [trial.number for trial in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert first.params["grpo.lr"] == 1e-4
    assert second.params["grpo.ppo_clip_only"] is False and second.params["grpo.kl_beta"] == 0.1
    assert third.settings.grpo.batch_size == 16
    assert "grpo.lr" in fourth.params and fourth.params["grpo.lr"] not in (1e-4, second.params["grpo.lr"])


def test_conditional_parameter_is_absent_where_it_does_not_apply(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM, budget="{trials: 12}"))
    seen = set()
    while isinstance(trial := owner.ask(), AskedTrial):
        clip_only = trial.params["grpo.ppo_clip_only"]
        seen.add(clip_only)
        assert ("grpo.kl_beta" in trial.params) is (not clip_only)
        assert trial.settings.grpo.ppo_clip_only is clip_only
    assert seen == {True, False}


def test_repeats_follow_their_configuration_with_successive_seeds(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM, repeats="3", budget="{trials: 7}"))
    trials = [owner.ask() for _ in range(7)]
    assert [trial.repeat for trial in trials] == [0, 1, 2, 0, 1, 2, 0]
    assert [trial.settings.seed for trial in trials] == [7, 8, 9, 7, 8, 9, 7]
    assert [trial.configuration for trial in trials] == [0, 0, 0, 1, 1, 1, 2]
    for group in (trials[:3], trials[3:6]):
        assert len({trial.key for trial in group}) == 1
        assert all(trial.params == group[0].params for trial in group)
    assert trials[0].key != trials[3].key


def test_budget_of_trials_is_final(make_space, open_owner, drive):
    owner = open_owner(make_space(**RANDOM, budget="{trials: 3}"))
    assert drive(owner) == NoTrial("all 3 trials of the budget were started", final=True)
    assert len(owner.summaries()) == 3


def test_budget_of_hours_counts_from_the_first_start(make_space, open_owner):
    now = [1000.0]
    space = make_space(**RANDOM, budget="{hours: 2}")
    owner = open_owner(space, clock=lambda: now[0])
    assert isinstance(owner.ask(), AskedTrial)
    now[0] += 1.9 * 3600
    again = open_owner(space, clock=lambda: now[0])  # a restart does not start the clock again
    assert isinstance(again.ask(), AskedTrial)
    now[0] += 0.2 * 3600
    refused = again.ask()
    assert isinstance(refused, NoTrial) and refused.final and "2 hours" in refused.reason


def test_budget_without_improvement_waits_for_running_trials(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM, budget="{trials_without_improvement: 2}"))
    numbers = [owner.ask().number for _ in range(4)]
    owner.complete(numbers[0], 0.5)
    owner.complete(numbers[1], 0.6)
    owner.fail(numbers[2], "lost")
    later = owner.ask()
    assert isinstance(later, NoTrial) and not later.final
    owner.complete(numbers[3], 0.4)  # improves: the count starts again
    fifth = owner.ask()
    assert isinstance(fifth, AskedTrial)
    owner.prune(fifth.number, "pruner")
    sixth = owner.ask()
    owner.complete(sixth.number, 0.4)  # equal is no improvement
    ended = owner.ask()
    assert isinstance(ended, NoTrial) and ended.final


def test_a_sweep_in_which_all_trials_fail_ends(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM, budget="{trials_without_improvement: 3}"))
    for _ in range(3):
        owner.fail(owner.ask().number, "no memory")
    assert owner.ask().final
    assert owner.best() is None


def test_first_ending_stays_and_later_calls_do_nothing(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM))
    number = owner.ask().number
    owner.report(number, 1, 0.5)
    assert owner.prune(number, "median pruner") is True
    assert owner.complete(number, 0.1) is False
    assert owner.fail(number, "late") is False
    owner.report(number, 2, 0.4)
    assert owner.note_worker(number, "late") is False
    assert owner.should_prune(number) is False
    (row,) = owner.summaries()
    assert (row.state, row.reason, row.last_step, row.value) == (TrialState.PRUNED, "median pruner", 1, 0.5)
    with pytest.raises(StudyError, match="no trial 99"):
        owner.complete(99, 0.1)


def test_what_stands_for_a_trial_is_typed_and_stored_with_its_end(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM))
    done, pruned, running = (owner.ask().number for _ in range(3))
    standing = Standing((Verdict.NO_OP, Verdict.DEAD_SIGNAL), 4, 0.25, 0.97, "f" * 64)
    owner.complete(done, 0.25, standing)
    owner.prune(pruned, "diverged", Standing((Verdict.DIVERGED,)))
    assert (
        owner.note_worker(running, "pid 1 on a") and owner.note_death(running) == 1 and owner.note_death(running) == 2
    )
    rows = open_owner(make_space(**RANDOM)).summaries()
    assert [row.standing for row in rows] == [standing, Standing((Verdict.DIVERGED,)), Standing()]
    assert all(isinstance(verdict, Verdict) for verdict in rows[0].verdicts)
    assert (rows[2].worker, rows[2].worker_deaths) == ("pid 1 on a", 2)


def test_a_study_of_version_0_1_has_its_fields_as_attributes(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM))
    number = owner.ask().number
    before = {"verdicts": ["no_op"], "best_step": 4, "best_loss": 0.25, "agreement_sequence": 0.97, "rce": "f" * 64}
    for name, value in before.items():
        owner._study._storage.set_trial_user_attr(owner._id(number), name, value)
    owner.complete(number, 0.25)
    assert owner.summaries()[0].standing == Standing((Verdict.NO_OP,), 4, 0.25, 0.97, "f" * 64)


def test_first_value_of_a_step_stays(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM))
    number = owner.ask().number
    owner.report(number, 1, 0.5)
    owner.report(number, 1, 0.1)
    assert owner.summaries()[0].best_value == 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_values(make_space, open_owner, drive, bad):
    owner = open_owner(make_space(sampler="{type: tpe, n_startup_trials: 2}", budget="{trials: 8}"))
    number = owner.ask().number
    owner.report(number, 1, 0.3)
    owner.report(number, 2, bad)
    assert owner.should_prune(number)  # whatever the pruner
    owner.prune(number, "diverged")
    other = owner.ask().number
    assert owner.complete(other, bad)
    rows = owner.summaries()
    assert [row.state for row in rows] == [TrialState.PRUNED, TrialState.PRUNED]
    assert rows[0].value is None and rows[0].best_value == 0.3
    assert "final value" in rows[1].reason
    assert owner.best() is None
    drive(owner)  # TPE and the median pruner go on with such trials in the study
    assert math.isfinite(owner.best().value)


def test_best_is_never_a_pruned_trial(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM))
    low, high = owner.ask().number, owner.ask().number
    owner.report(low, 1, 0.01)
    owner.prune(low, "pruner")
    owner.complete(high, 0.9)
    assert owner.best().number == high


def test_best_takes_the_earlier_of_equals(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM))
    numbers = [owner.ask().number for _ in range(2)]
    for number in reversed(numbers):
        owner.complete(number, 0.25)
    assert owner.best().number == numbers[0]


def test_failing_sampler_falls_back_to_random_for_the_trial(make_space, open_owner, monkeypatch):
    owner = open_owner(make_space(sampler="{type: tpe}", pruner="{type: none}", enqueue="[]"))

    def broken(self, *_):
        raise FloatingPointError("degenerate")

    with monkeypatch.context() as patch:
        patch.setattr(optuna.samplers.TPESampler, "infer_relative_search_space", broken)
        patch.setattr(optuna.samplers.TPESampler, "sample_independent", broken)
        asked = owner.ask()
    assert "grpo.lr" in asked.params
    study = optuna.load_study(study_name="fake", storage=owner._study._storage)
    assert study.trials[asked.number].user_attrs["sampler_fallback"] == "FloatingPointError: degenerate"
    second = owner.ask()
    rows = owner.summaries()
    assert (rows[asked.number].sampler_fallback, rows[second.number].sampler_fallback) == (
        "FloatingPointError: degenerate",
        None,
    )


def test_failing_pruner_prunes_nothing_and_is_recorded(make_space, open_owner, monkeypatch):
    owner = open_owner(make_space(pruner="{type: median}"))
    number = owner.ask().number
    for step in (1, 2, 3):
        owner.report(number, step, 0.5)
    monkeypatch.setattr(owner._study.pruner, "prune", lambda *_: 1 / 0)
    assert owner.should_prune(number) is False
    assert "ZeroDivisionError" in owner.summaries()[number].pruner_error


def test_foreign_enqueued_point_is_run_and_does_not_disturb_the_plan(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM, repeats="2"))
    assert owner.ask().configuration == 0
    owner._study.enqueue_trial({"grpo.lr": 2e-4})  # as a user would, with plain Optuna
    foreign = owner.ask()
    assert foreign.configuration is None and foreign.params["grpo.lr"] == 2e-4
    following = owner.ask()
    assert (following.configuration, following.repeat) == (0, 1)


def test_plain_optuna_sees_everything(make_space, open_owner, drive, tmp_path):
    drive(open_owner(make_space(budget="{trials: 8}", pruner="{type: median, n_startup_trials: 2}")))
    study = optuna.load_study(study_name="fake", storage=sqlite_url(tmp_path / "study.db"))
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert all(trial.intermediate_values for trial in study.trials)
    assert study.best_trial.state is TrialState.COMPLETE
    rows = read_summaries(sqlite_url(tmp_path / "study.db"), "fake")
    assert [row.number for row in rows] == list(range(8))
    assert all(row.duration is not None and row.key for row in rows)


def notes_of(owner):
    """What optuna-dashboard shows, read as its `_note.py` reads it: the study's note, then the trials' by number."""
    found = owner._storage.get_study_system_attrs(owner._storage.study_id)

    def note(prefix):
        pieces = {key: text for key, text in found.items() if key.startswith(f"{prefix}note_str:")}
        whole = "".join(pieces[f"{prefix}note_str:{place}"] for place in range(len(pieces)))
        return whole if f"{prefix}note_ver" in found else ""

    return [note("dashboard:"), *(note(f"dashboard:{owner._id(row.number)}:") for row in owner.summaries())]


def test_optunas_own_views_name_the_metric_and_have_readable_notes(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM))
    assert owner._study.metric_names == ["val_loss"]
    for step in (1, 2, 3):
        owner.report(owner.ask().number if step == 1 else 0, step, 4.0 - step)
    owner.complete(0, 2.0, Standing((Verdict.NO_OP,), 2, 2.0, 0.97))
    owner.prune(owner.ask().number, "a `reason` <b>", Standing())
    study, complete, pruned = notes_of(owner)
    assert "`val_loss` is the validation metric" in study and "Lower is better" in study
    assert "**Best val_loss 2.0000 at epoch 2 of 3**" in complete and "97%" in complete and "no_op" in complete
    assert "Pruned: `a 'reason' <b>`" in pruned and "Verdicts: none" in pruned


def test_a_persons_note_stays_and_an_old_study_gets_its_names(make_space, open_owner, tmp_path):
    space = make_space(**RANDOM, description="'" + "long " * 900 + "'")
    owner = open_owner(space)
    assert len(notes_of(owner)[0]) > 4500  # in several pieces
    number = owner.ask().number
    owner._storage.set_study_system_attr(owner._storage.study_id, f"dashboard:{owner._id(number)}:note_str:0", "mine")
    owner._storage.set_study_system_attr(owner._storage.study_id, f"dashboard:{owner._id(number)}:note_ver", 1)
    owner.fail(number, "no memory")
    owner.close()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("delete from study_system_attributes where key = 'study:metric_names'")
    again = open_owner(space)
    assert again._study.metric_names == ["val_loss"] and notes_of(again)[1] == "mine"


def test_what_is_shown_below_the_studys_note_replaces_what_was_there_before(make_space, open_owner):
    owner = open_owner(make_space(**RANDOM))
    first = notes_of(owner)[0]
    for more in ("long " * 900, "short", "short"):
        owner.note_study(more)
        assert notes_of(owner)[0] == f"{first}\n\n{more}"
    storage = owner._storage
    assert storage.get_study_system_attrs(storage.study_id)["dashboard:note_ver"] == 3, "the same is not written"
    storage.set_study_system_attr(storage.study_id, "dashboard:note_str:0", "mine")
    owner.note_study("ours")
    assert notes_of(owner)[0] == "mine", "what a person wrote stays"


def test_sqlite_is_in_wal_mode(make_space, open_owner, tmp_path):
    open_owner(make_space())
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_owner_refuses_to_be_pickled(make_space, open_owner):
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(open_owner(make_space()))


# -- storages and studies that cannot be used --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "fragment"),
    [
        ("no url", "is not a URL"),
        ("sqlite://", "without a file"),
        ("sqlite:///:memory:", "without a file"),
        ("sqlite:///{tmp}/none/study.db", "does not exist; create it"),
        ("sqlite:///{tmp}/text.db", "is it a SQLite file"),
        ("sqlite:///{tmp}", "cannot be used"),
        ("postgresql+psycopg2://me:secret@localhost:1/x", "no driver"),
        ("nosuchdialect://x", "cannot be used"),
    ],
)
def test_unusable_storage(make_space, tmp_path, url, fragment):
    (tmp_path / "text.db").write_text("this is not a database, and it is long enough to be read as one" * 20)
    with pytest.raises(StudyError) as caught:
        StudyOwner.open(url.replace("{tmp}", str(tmp_path)), "fake", make_space())
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_study_of_another_space_is_refused_and_says_how_it_differs(make_space, open_owner):
    open_owner(make_space())
    with pytest.raises(StudyError, match=r"another search space: seed: 7 -> 8; use that space"):
        open_owner(make_space(seed="8"))


def test_budget_may_change_between_runs(make_space, open_owner, drive):
    drive(open_owner(make_space(**RANDOM, budget="{trials: 2}")))
    owner = open_owner(make_space(**RANDOM, budget="{trials: 4}", concurrency="2"))
    drive(owner)
    assert len(owner.summaries()) == 4


def test_foreign_study_is_refused(make_space, open_owner, tmp_path):
    url = sqlite_url(tmp_path / "study.db")
    study = optuna.create_study(study_name="fake", storage=url)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(StudyError, match="trials that no sweep made"):
        open_owner(make_space())


def test_maximised_study_is_refused(make_space, open_owner, tmp_path):
    optuna.create_study(study_name="fake", storage=sqlite_url(tmp_path / "study.db"), direction="maximize")
    with pytest.raises(StudyError, match="not minimised"):
        open_owner(make_space())


def test_reading_what_is_not_there(tmp_path, make_space, open_owner):
    with pytest.raises(StudyError, match="no such file"):
        read_summaries(sqlite_url(tmp_path / "none.db"), "fake")
    assert not (tmp_path / "none.db").exists()
    open_owner(make_space())
    with pytest.raises(StudyError, match="no study 'other'"):
        read_summaries(sqlite_url(tmp_path / "study.db"), "other")

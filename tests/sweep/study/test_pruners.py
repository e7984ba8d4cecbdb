"""Every sampler with every pruner, and what pruners are shown."""

import math

import optuna
import pytest
from optuna.storages import RDBStorage

from sweep.study import StudyOwner, TrialState
from sweep.study.comparison import comparison_of
from sweep.study.kept import KeptStorage

SAMPLERS = [
    "{type: tpe, n_startup_trials: 3}",
    "{type: gp, n_startup_trials: 9}",
    "{type: cmaes, n_startup_trials: 2}",
    "{type: cmaes, n_startup_trials: 2, with_margin: true}",
    "{type: qmc}",
    "{type: random}",
    "{type: grid}",
]
PRUNERS = [
    "{type: median, n_startup_trials: 2}",
    "{type: percentile, percentile: 40, n_startup_trials: 2}",
    "{type: successive_halving, reduction_factor: 2}",
    "{type: hyperband, reduction_factor: 2}",
    "{type: patient, patience: 1}",
    "{type: patient, patience: 1, wrapped: {type: median, n_startup_trials: 2}}",
    "{type: patient, patience: 1, wrapped: {type: hyperband, reduction_factor: 2}}",
    "{type: threshold, upper: 0.95}",
    "{type: wilcoxon, p_threshold: 0.3}",
    "{type: none}",
]
STEPPED = """
  grpo.ppo_clip_only: {type: categorical, choices: [false, true]}
  grpo.kl_beta: {type: float, low: 0.1, high: 0.4, step: 0.1, when: {grpo.ppo_clip_only: false}}
  grpo.batch_size: {type: int, low: 8, high: 64, step: 8}
  grpo.advantage_clip: {type: int, low: 2, high: 5}
"""


@pytest.fixture(scope="module")
def tables():
    """A database in memory: the matrix is about algorithms, and making tables takes longer than a case."""
    return RDBStorage("sqlite://")


@pytest.fixture
def in_memory(tables, request):
    """Makes the owner of a study of this test."""

    def make(space):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        name = request.node.nodeid
        optuna.create_study(storage=tables, study_name=name)
        storage = KeptStorage(tables, tables.get_study_id_from_name(name))
        study = optuna.load_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
        return StudyOwner(study, storage, space, "sqlite:///unused", 0.0, lambda: 0.0)

    return make


PAIRS = [
    pytest.param(sampler, pruner, marks=[] if not one or (one + other) % 5 == 0 else pytest.mark.long)
    for one, sampler in enumerate(SAMPLERS)
    for other, pruner in enumerate(PRUNERS)
]
"""In short: the first sampler with every pruner, and every other one with two."""


@pytest.mark.parametrize(("sampler", "pruner"), PAIRS)
def test_sampler_with_pruner(make_space, drive, in_memory, sampler, pruner):
    space = make_space(
        sampler=sampler, pruner=pruner, parameters=STEPPED, enqueue="[{grpo.batch_size: 16}]", budget="{trials: 12}"
    )
    owner = in_memory(space)
    assert drive(owner).final
    trials = owner._study.trials
    assert len(trials) == 12
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert owner.best().state is TrialState.COMPLETE and math.isfinite(owner.best().value)
    assert not any({"sampler_fallback", "pruner_error"} & set(trial.user_attrs) for trial in trials)


@pytest.mark.parametrize("pruner", [pruner for pruner in PRUNERS if "none" not in pruner and "patience" not in pruner])
def test_pruner_stops_some_and_only_in_grpo(make_space, drive, in_memory, pruner):
    space = make_space(
        sampler="{type: random}",
        pruner=pruner,
        budget="{trials: 14}",
        trial="{rce: {epochs: 2, reward: {mode: hard_plus_soft}}, grpo: {epochs: 8}}",
    )
    owner = in_memory(space)
    drive(owner)
    pruned = [row for row in owner.summaries() if row.state is TrialState.PRUNED]
    assert pruned
    assert all(row.last_step > 2 and row.reason == "pruner" for row in pruned)
    assert all(comparison_of(owner.trials()[row.number]).stops for row in pruned)
    # The whole curve is in the study, RCE included.
    assert all(min(trial.intermediate_values) == 1 for trial in owner._study.trials)


def _bad_trial_after_good_ones(owner):
    """Three good trials, then one whose shared RCE epochs are better than all that follows anywhere."""
    for _ in range(3):
        number = owner.ask().number
        for step, value in enumerate([0.2, 0.1, 0.5, 0.4, 0.3], start=1):
            owner.report(number, step, value)
        owner.complete(number, 0.3)
    number = owner.ask().number
    for step, value in enumerate([0.2, 0.1], start=1):
        owner.report(number, step, value)
        assert not owner.should_prune(number)
    owner.report(number, 3, 0.9)
    return owner.should_prune(number)


@pytest.mark.parametrize("pruner", ["{type: median, n_startup_trials: 2}", "{type: percentile, n_startup_trials: 2}"])
def test_low_rce_values_do_not_protect_a_bad_trial(make_space, open_owner, pruner):
    assert _bad_trial_after_good_ones(open_owner(make_space(pruner=pruner)))


def test_at_once_shows_all_epochs(make_space, open_owner):
    space = make_space(pruner="{type: median, n_startup_trials: 2}", pruning_starts="at_once")
    assert not _bad_trial_after_good_ones(open_owner(space))  # protected by its best value, 0.1 in RCE


def test_epochs_are_counted_from_the_end_of_each_trials_own_rce(make_space, open_owner):
    parameters = "{rce.epochs: {type: categorical, choices: [1, 4]}}"
    points = "[{rce.epochs: 1}, {rce.epochs: 4}]"
    owner = open_owner(make_space(parameters=parameters, enqueue=points, pruner="{type: median, n_startup_trials: 1}"))
    first, second = owner.ask().number, owner.ask().number
    for step, value in enumerate([0.9, 0.5, 0.1], start=1):
        owner.report(first, step, value)
    owner.complete(first, 0.1)
    for step, value in enumerate([0.9, 0.9, 0.9, 0.9], start=1):
        owner.report(second, step, value)
        assert not owner.should_prune(second)
    owner.report(second, 5, 0.45)  # first GRPO epoch: better than 0.5, the other's first
    assert not owner.should_prune(second)
    owner.report(second, 6, 0.4)  # second GRPO epoch: worse than 0.1
    assert owner.should_prune(second)


def test_hyperband_has_its_brackets_before_the_first_sample(make_space, open_owner):
    owner = open_owner(make_space(pruner="{type: hyperband, min_resource: 1, max_resource: 9, reduction_factor: 3}"))
    assert len(owner._study.pruner._pruners) == 3


def test_nan_in_other_trials_does_not_reach_a_pruner(make_space, open_owner):
    owner = open_owner(make_space(pruner="{type: median, n_startup_trials: 1}"))
    first, second = owner.ask().number, owner.ask().number
    for step, value in enumerate([0.5, 0.5, math.nan, 0.5, 0.5], start=1):
        owner.report(first, step, value)
    owner.complete(first, 0.5)
    for step in (1, 2, 3):
        owner.report(second, step, 0.9)
    assert owner.should_prune(second) is False  # nothing to compare with at this epoch
    assert "pruner_error" not in owner._study.trials[second].user_attrs
    owner.report(second, 4, 0.9)
    assert owner.should_prune(second) is True


def test_grid_gives_every_combination_once(make_space, drive, in_memory):
    space = make_space(
        sampler="{type: grid}",
        pruner="{type: none}",
        parameters=STEPPED,
        enqueue="[{grpo.ppo_clip_only: true, grpo.batch_size: 8, grpo.advantage_clip: 2}]",
        budget="{trials: 1000}",
    )
    owner = in_memory(space)
    assert drive(owner).reason == "every configuration of the space was started"
    keys = [row.key for row in owner.summaries()]
    assert len(keys) == len(set(keys)) == (4 + 1) * 8 * 4  # kl_beta has 4 values, or none with clip only
    assert owner.summaries()[0].params["grpo.batch_size"] == 8


def test_space_without_sampled_parameters_runs_its_one_configuration(make_space, open_owner, drive):
    owner = open_owner(make_space(parameters="{grpo.lr: 1e-4}", enqueue="[]", repeats="3"))
    assert drive(owner).final
    assert [row.repeat for row in owner.summaries()] == [0, 1, 2]

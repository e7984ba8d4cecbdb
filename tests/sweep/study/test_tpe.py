"""TPE with a history proposes what Optuna's own proposes, to the bit, whatever happened before."""

from __future__ import annotations

import math
import random
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.study.prior import PriorSampler
from sweep.study.tpe import HistoryTpeSampler, TpeHistory

SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-5, 1e-2, log=True),
    "size": IntDistribution(8, 64, step=8),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "beta": FloatDistribution(0.0, 1.0),  # of kind a and b alone
    "clip": FloatDistribution(0.1, 0.3, step=0.05),  # of kind b alone
}
ONLY_FOR = {"beta": "ab", "clip": "b"}
ALONE = ("kind", "clip")
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {"multivariate": True, "group": True, "constant_liar": True},
    "no liar": {"multivariate": True, "group": True, "constant_liar": False},
    "no group": {"multivariate": True, "group": False, "constant_liar": True},
    "single": {"multivariate": False, "group": False, "constant_liar": True},
}


pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def applies(name: str, kind: object) -> bool:
    return str(kind) in ONLY_FOR.get(name, "abc")


def drawn(sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> list[Any]:
    """All that a sampler says of a trial: the spaces and their order, the joint draw, and each single draw."""
    space = sampler.infer_relative_search_space(study, trial)
    joint = sampler.sample_relative(study, trial, space)
    return [list(space), joint, *(sampler.sample_independent(study, trial, name, SPACE[name]) for name in ALONE)]


def prior() -> list[FrozenTrial]:
    found = []
    for value in (0.5, 0.1, 0.9, 0.3):
        params = {"rate": 1e-3 * value, "kind": "c", "size": 16}
        spaces = {name: SPACE[name] for name in params}
        found.append(create_trial(state=TrialState.COMPLETE, value=value, params=params, distributions=spaces))
    return found


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_proposals_are_optunas(options: dict[str, Any], with_prior: bool) -> None:
    """Trials end in any order and in every way. A history that begins here stands for one after a crash."""
    chance = random.Random(with_prior)
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    history, running = TpeHistory(), []
    for number in range(48):
        trial = study.ask()
        frozen = study.get_trials(deepcopy=False)[number]
        common = {"seed": number, "n_startup_trials": 6, **options}
        samplers: list[BaseSampler] = [TPESampler(**common), HistoryTpeSampler(history, **common)]
        if number % 8 == 7:
            samplers.append(HistoryTpeSampler(TpeHistory(), **common))
        if with_prior:
            samplers = [PriorSampler(sampler, PRIOR) for sampler in samplers]
        expected, *found = [drawn(sampler, study, frozen) for sampler in samplers]
        assert found == [expected] * len(found), number
        values = {name: trial._suggest(name, SPACE[name]) for name in ("rate", "size", "kind")}
        for name in ONLY_FOR:
            if applies(name, values["kind"]):
                trial._suggest(name, SPACE[name])
        running.append(trial)
        while len(running) > chance.randrange(5):
            end(study, running.pop(chance.randrange(len(running))), chance)
    assert len(history) > 30
    assert len(history._firsts) > 2  # several sets of parameters


PRIOR = prior()


def end(study: optuna.Study, trial: optuna.Trial, chance: random.Random) -> None:
    """In one of the ways in which trials end."""
    for step in range(1, chance.randrange(1, 5)):
        trial.report(chance.choice([chance.random(), 0.25, math.nan]), step)
    state = chance.choice([TrialState.COMPLETE] * 3 + [TrialState.PRUNED] * 2 + [TrialState.FAIL])
    value = chance.choice([chance.random(), 0.5]) if state is TrialState.COMPLETE else None  # 0.5: ties
    study.tell(trial, value, state=state)


def test_constraints_of_another_program_are_heeded() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    for number in range(30):
        trial = study.ask()
        trial._suggest("rate", SPACE["rate"])
        if number % 3 == 0:
            trial.set_constraint("memory", 1.0)
        study.tell(trial, number / 30)
    trial = study.ask()
    frozen = study.get_trials(deepcopy=False)[-1]
    options = {"seed": 3, **OPTIONS["default"]}
    history = TpeHistory()
    assert drawn(HistoryTpeSampler(history, **options), study, frozen) == drawn(TPESampler(**options), study, frozen)
    assert history.constrained


def test_a_trial_that_has_become_another_is_learned_anew() -> None:
    """After a write that failed, what had ended may run again."""
    history, study = TpeHistory(), optuna.create_study()
    trials = PRIOR[:3]
    history.show(trials, study)
    history.show([trials[0], create_trial(state=TrialState.FAIL), trials[2]], study)
    assert len(history) == 2

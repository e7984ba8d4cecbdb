"""CMA-ES without a pickle: what Optuna's sampler draws, and nothing of a stranger's runs."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from sweep.errors import StudyError
from sweep.study.cmaes import JsonCmaEsSampler

SPACE: dict[str, BaseDistribution] = {
    "a": FloatDistribution(1e-5, 1e-1, log=True),
    "b": FloatDistribution(-2.0, 3.0),
    "c": IntDistribution(1, 9),
    "d": FloatDistribution(0.0, 1.0, step=0.25),
}
VARIANTS = [{}, {"with_margin": True}, {"lr_adapt": True}]


def value(params: dict[str, float]) -> float:
    return (params["b"] - 1) ** 2 + abs(params["c"] - 4) + params["a"] * 10 + params["d"]


def drawn(kind: type[optuna.samplers.CmaEsSampler], trials: int, **options: bool) -> list[dict[str, float]]:
    """What a study draws whose sampler is built anew for every trial, as a sweep does it."""
    study = optuna.create_study()
    for number in range(trials):
        study.sampler = kind(seed=number, n_startup_trials=1, popsize=4, **options)
        trial = study.ask(SPACE)
        study.tell(trial, value(trial.params))
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("options", VARIANTS, ids=["plain", "margin", "adapted"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_draws_what_optunas_own_draws(options: dict[str, bool]) -> None:
    ours = drawn(JsonCmaEsSampler, 24, **options)
    assert ours == drawn(optuna.samplers.CmaEsSampler, 24, **options)
    assert len({tuple(params.values()) for params in ours}) == 24


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


def study_with(attributes: dict[str, object]) -> optuna.Study:
    """A study whose one complete trial has these attributes."""
    study = optuna.create_study(sampler=JsonCmaEsSampler(seed=0, popsize=4))
    params = {"a": 1e-3, "b": 0.0, "c": 3, "d": 0.5}
    trial = optuna.trial.create_trial(value=1.0, params=params, distributions=SPACE, system_attrs=attributes)
    study.add_trial(trial)
    return study


@pytest.mark.parametrize("prefix", ["cma", "cmawm"])
def test_a_pickle_is_refused_and_not_run(tmp_path: Path, prefix: str) -> None:
    harm = pickle.dumps(Harm(tmp_path / "harmed")).hex()
    with pytest.raises(StudyError, match="could run code"):
        study_with({f"{prefix}:optimizer:0": harm}).ask(SPACE)
    with pytest.raises(StudyError, match="no JSON"):
        study_with({"cma:state:0": harm}).ask(SPACE)
    assert not (tmp_path / "harmed").exists()


def stored_state() -> dict[str, object]:
    """The state that a study of four complete trials stores."""
    study = optuna.create_study(sampler=JsonCmaEsSampler(seed=0, popsize=4))
    for _ in range(8):
        trial = study.ask(SPACE)
        study.tell(trial, value(trial.params))
    found = [trial.system_attrs["cma:state:0"] for trial in study.trials if "cma:state:0" in trial.system_attrs]
    return dict(json.loads(found[-1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_mean": [0.5, 0.5, 0.5, "x"]}, "damaged at _mean"),
        ({"_mean": []}, "damaged at _mean"),
        ({"_mean": [[0.5], [0.5], [0.5], [0.5]]}, "shape"),
        ({"_C": [[1.0]]}, "shape"),
        ({"_C": [[1.0] * 4] * 3 + [[1.0] * 3]}, "damaged at _C"),
        ({"_sigma": float("nan")}, "not finite"),
        ({"_g": "many"}, "damaged at _g"),
        ({"_g": 10**400}, "damaged at _g"),
        ({"_n_max_resampling": 10**12}, "other parts"),
        ({"_cma": {}}, "damaged"),
    ],
)
def test_a_damaged_state_is_named(change: dict[str, object], message: str) -> None:
    state = stored_state()
    study_with({"cma:state:0": json.dumps(state)}).ask(SPACE)
    with pytest.raises(StudyError, match=message):
        study_with({"cma:state:0": json.dumps(state | change)}).ask(SPACE)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "3"])
def test_what_is_no_state_is_named(text: str) -> None:
    with pytest.raises(StudyError):
        study_with({"cma:state:0": text}).ask(SPACE)


def test_other_parameters_are_drawn_at_random_as_by_optuna() -> None:
    """A state for four parameters, and now there are three: Optuna gives up CMA-ES for this study."""
    attributes = {"cma:state:0": json.dumps(stored_state()), "cma:generation": 1}
    three = {name: SPACE[name] for name in ("a", "b", "c")}
    study = optuna.create_study(sampler=JsonCmaEsSampler(seed=0, popsize=4, warn_independent_sampling=False))
    params = {"a": 1e-3, "b": 0.0, "c": 3}
    study.add_trial(optuna.trial.create_trial(value=1.0, params=params, distributions=three, system_attrs=attributes))
    trial = study.ask(three)
    assert "cma:generation" not in study.trials[-1].system_attrs and set(trial.params) == set(three)

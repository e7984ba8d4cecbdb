"""Every decision of every pruner follows from what is stored as compared."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import BasePruner, PatientPruner, WilcoxonPruner
from optuna.trial import TrialState
from pydantic import TypeAdapter

from sweep.space.algorithms import PatientSettings, PrunerSettings, PruningStarts, ThresholdSettings
from sweep.study.comparison import Comparison, Quantity, compare
from sweep.study.pruners import PrunerView, build_pruner

EPOCHS = 9
PRUNERS = [
    {"type": "median", "n_startup_trials": 0},
    {"type": "percentile", "percentile": 30, "n_startup_trials": 0, "n_min_trials": 2},
    {"type": "successive_halving", "min_resource": 1, "reduction_factor": 2},
    {"type": "successive_halving", "min_resource": 2, "reduction_factor": 3, "min_early_stopping_rate": 1},
    {"type": "successive_halving", "min_resource": 1, "reduction_factor": 3, "bootstrap_count": 3},
    {"type": "hyperband", "min_resource": 1, "reduction_factor": 3},
    {"type": "threshold", "lower": 0.2, "upper": 0.9},
    {"type": "threshold", "upper": 0.9},
    {"type": "wilcoxon", "p_threshold": 0.3},
    {"type": "patient", "patience": 1, "min_delta": 0.05},
    {"type": "patient", "patience": 1, "wrapped": {"type": "median", "n_startup_trials": 0}},
    {"type": "patient", "patience": 0, "wrapped": {"type": "successive_halving", "min_resource": 1}},
]
VALUES = st.one_of(st.sampled_from([0.1, 0.5, 0.95]), st.floats(0.0, 1.0))  # ties, and others
TURNS = st.lists(st.tuples(st.integers(0, 4), VALUES), min_size=20, max_size=40)
"""Which of up to five running trials reports next, and what."""


def expected(pruner: BasePruner, view: PrunerView, trial: optuna.trial.FrozenTrial, found: Comparison | None) -> bool:
    """The decision that follows."""
    stops = found is not None and found.stops
    if isinstance(pruner, PatientPruner):
        patience = PatientSettings(patience=pruner._patience, min_delta=pruner._min_delta)
        alone = compare(build_pruner(patience, EPOCHS), view, trial)
        return stops and alone is not None and alone.stops
    if isinstance(pruner, WilcoxonPruner) and stops:  # Optuna keeps one whose mean is as good as the best's
        best, own = view.best_trial.intermediate_values.values(), trial.intermediate_values.values()
        return sum(best) / len(best) < sum(own) / len(own)
    return stops


@pytest.mark.parametrize("options", PRUNERS, ids=lambda one: "-".join(str(value) for value in one.values()))
@settings(max_examples=settings.default.max_examples // 4, deadline=None)
@given(turns=TURNS)
def test_the_decision_is_what_follows_from_the_comparison(options, turns):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="random history")
    pruner = build_pruner(TypeAdapter(PrunerSettings).validate_python(options), EPOCHS)
    view, running = PrunerView(study, PruningStarts.AT_ONCE), {}
    for place, value in turns:
        if place not in running:
            running[place] = study.ask()
        trial = running[place]
        step = len(study.trials[trial.number].intermediate_values) + 1
        trial.report(value, step)
        seen = view.seen(study.trials[trial.number])
        decided = pruner.prune(view, seen)
        found = compare(pruner, view, seen) if decided or has_company(options, step, seen, view) else None
        assert decided == expected(pruner, view, seen, found), found
        if found is not None and found.rung is not None:
            assert found.trials == reached(study, pruner, trial.number, found.rung)
        if decided or step == EPOCHS:
            study.tell(trial, None if decided else value, TrialState.PRUNED if decided else TrialState.COMPLETE)
            del running[place]


def reached(study, pruner, number, rung):
    """How many trials of its bracket have reached the rung of a trial."""
    bracket = getattr(pruner, "_get_bracket_id", lambda study, trial: None)
    there = [one for one in study.trials if bracket(study, one) == bracket(study, study.trials[number])]
    return sum(f"completed_rung_{rung}" in one.system_attrs for one in there)


def has_company(options, step, seen, view):
    """Whether the Wilcoxon pruner looks at the trial at all: it asks for a best trial and two epochs."""
    return options["type"] != "wilcoxon" or (step >= 2 and bool(view.get_trials(states=(TrialState.COMPLETE,))))


def test_a_rung_is_described_as_it_was():
    study = optuna.create_study()
    settings = {"type": "successive_halving", "min_resource": 2, "reduction_factor": 2}
    pruner = build_pruner(TypeAdapter(PrunerSettings).validate_python(settings), EPOCHS)
    view, found = PrunerView(study, PruningStarts.AT_ONCE), None
    for value in (0.3, 0.1, 0.4, 0.2, 0.25):
        trial = study.ask()
        for step in (1, 2):
            trial.report(value, step)
            seen = view.seen(study.trials[trial.number])
            decided = pruner.prune(view, seen)
            found = compare(pruner, view, seen)
            assert (found is None) == (step == 1)
    assert decided and found == Comparison(
        Quantity.LATEST, 0.25, 0.2, trials=5, rung=0, rung_epoch=2, reduction_factor=2
    )
    assert not replace(found, value=0.2).stops and not replace(found, value=0.2, stops_below=True).stops


@pytest.mark.parametrize(("value", "threshold", "below"), [(0.1, 0.2, True), (0.95, 0.9, False), (0.5, 0.9, False)])
def test_a_limit_is_the_one_that_was_passed(value, threshold, below):
    study = optuna.create_study()
    pruner = build_pruner(ThresholdSettings(lower=0.2, upper=0.9), EPOCHS)
    study.ask().report(value, 1)
    found = compare(pruner, PrunerView(study, PruningStarts.AT_ONCE), study.trials[0])
    assert found == Comparison(Quantity.LATEST, value, threshold, stops_below=below) and found.stops == (value != 0.5)

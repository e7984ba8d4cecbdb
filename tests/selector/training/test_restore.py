"""Determinism, and stages that continue to the bit from a state that went through a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from selector.tensors import read_tensors
from selector.training import GrpoStage, RceStage, StageState, Training, train
from selector.training.stage import TrainingStage, copy_weights
from tests.selector.worlds import deterministic, evaluator, make_dataset, make_settings, same_weights, tensors_of

DATASET = make_dataset()
EVALUATE = evaluator(DATASET, metric="listwise")  # the calibrated form is nearly constant on random rewards
RCE: dict[str, dict[str, Any]] = {
    "last": {"rce": {"epochs": 4, "label_smoothing": 0.1}},
    "best": {"rce": {"epochs": 6, "lr": 0.01, "keep": "best", "schedule": "cosine", "warmup_fraction": 0.2}},
    "no dropout": {"rce": {"epochs": 3, "batch_size": 64}, "model": {"dropout": 0.0, "decoder": "static"}},
}
GRPO: dict[str, dict[str, Any]] = {
    "refresh 1": {"grpo": {"epochs": 4}},
    "refresh 3, adaptive": {
        "grpo": {
            "epochs": 8, "lr": 0.01, "old_policy_refresh": 3, "schedule": "cosine", "warmup_fraction": 0.1,
            "adaptive_beta": {"enabled": True, "target_low": 0.05, "target_high": 0.06, "factor": 1.7},
        }
    },
    "refresh 2, frozen": {"grpo": {"epochs": 5, "old_policy_refresh": 2, "freeze_backbone": True}},
    "curricula, k3": {
        "grpo": {
            "epochs": 4, "kl_estimator": "k3", "curriculum": {"epochs": 2}, "schedule": "cosine",
            "top_k": {"enabled": True, "early_k": 2, "late_k": 3, "early_epochs": 2},
        }
    },
    "clip only, never refreshed": {"grpo": {"epochs": 4, "ppo_clip_only": True, "old_policy_refresh": 99}},
}  # fmt: skip


def make_stage(kind: str, sections: dict[str, Any]) -> TrainingStage:
    settings, data, evaluate = make_settings(**sections), tensors_of(DATASET), EVALUATE
    rce = RceStage(settings, data, evaluate)
    if kind == "rce":
        return rce
    reference = RceStage(make_settings(**sections, seed=11), data, evaluate)
    return GrpoStage(settings, data, evaluate, copy_weights(reference.model))


def through_a_file(state: StageState, folder: Path) -> StageState:
    file = folder / "state.safetensors"
    safetensors.torch.save_file(state.tensors, file)
    numbers = json.loads(json.dumps(state.numbers))
    return StageState(json.loads(json.dumps(state.epoch)), read_tensors(file), numbers)


CASES = [("rce", name, sections) for name, sections in RCE.items()]
CASES += [("grpo", name, sections) for name, sections in GRPO.items()]


@pytest.mark.parametrize(("kind", "sections"), [c[::2] for c in CASES], ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_a_stage_continues_to_the_bit_from_every_epoch(kind: str, sections: dict[str, Any], tmp_path: Path) -> None:
    whole = make_stage(kind, sections)
    states, reports = [whole.state()], []
    for report in whole:
        reports.append(deterministic(report))
        states.append(whole.state())
    final = copy_weights(whole.model)
    reference = whole.reference_weights() if isinstance(whole, RceStage) else None
    assert [state.epoch for state in states] == list(range(whole.epochs + 1))
    for state in states:
        fresh = make_stage(kind, sections)
        fresh.load_state(through_a_file(state, tmp_path))
        assert [deterministic(r) for r in fresh] == reports[state.epoch :]
        assert same_weights(copy_weights(fresh.model), final)
        if isinstance(fresh, RceStage) and reference is not None:
            assert same_weights(fresh.reference_weights(), reference)
    used = whole  # and a stage that has already run can be wound back
    for state in (states[1], states[0], states[-2]):
        used.load_state(through_a_file(state, tmp_path))
        assert [deterministic(r) for r in used] == reports[state.epoch :]


def test_the_cases_reach_what_they_are_for() -> None:
    adaptive = [report.beta for report in make_stage("grpo", GRPO["refresh 3, adaptive"])]
    assert len(set(adaptive)) > 2
    losses = [report.val_loss for report in make_stage("rce", RCE["best"])]
    assert losses.index(min(losses)) not in (0, len(losses) - 1)
    stage = make_stage("grpo", GRPO["refresh 3, adaptive"])
    held = []
    for _ in stage:
        held.append(any(name.startswith("old/") for name in stage.state().tensors))
    assert held == [False, False, False, True, True, False, True, True]  # the reference, or renewed at once, or held


def test_states_are_copies() -> None:
    stage = make_stage("grpo", GRPO["refresh 3, adaptive"])
    epochs = iter(stage)
    for _ in range(4):
        next(epochs)
    state = stage.state()
    before = {name: value.clone() for name, value in state.tensors.items()}
    list(epochs)
    assert same_weights(state.tensors, before)


def test_looking_at_the_state_or_at_global_randomness_changes_nothing() -> None:
    plain = [deterministic(report) for report in train(make_settings(), DATASET)]
    disturbed = []
    training = Training(make_settings(), DATASET)
    for report in training:
        torch.manual_seed(len(disturbed))
        torch.rand(len(disturbed) + 1)
        disturbed.append(deterministic(report))
    assert disturbed == plain


def test_a_seed_determines_everything() -> None:
    runs = [[deterministic(r) for r in train(make_settings(seed=seed), DATASET)] for seed in (5, 5, 6)]
    assert runs[0] == runs[1]
    assert all(one["train_loss"] != other["train_loss"] for one, other in zip(runs[0], runs[2], strict=True))
    assert all(one["entropy"] != other["entropy"] for one, other in zip(runs[0], runs[2], strict=True))


def test_settings_of_the_second_stage_do_not_reach_the_first() -> None:
    """Trials that share RCE settings may share its artifact."""
    one = list(train(make_settings(), DATASET))
    other = list(train(make_settings(grpo={"lr": 1e-5, "kl_beta": 3.0, "epochs": 1, "batch_size": 2}), DATASET))
    assert [deterministic(r) for r in one[:2]] == [deterministic(r) for r in other[:2]]

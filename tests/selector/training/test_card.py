"""Training on a (pretended) card mixes no devices, and computes what it computes on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selector.settings import ValidationSettings
from selector.training import GrpoStage, RceStage, Training
from tests.card import pretended_card
from tests.selector.worlds import deterministic, evaluator, make_dataset, make_settings, tensors_of

VARIANTS: dict[str, dict[str, Any]] = {
    "gate": {},
    "static, k3, top-k, ranks": {
        "model": {"decoder": "static"},
        "grpo": {"kl_estimator": "k3", "top_k": {"enabled": True}, "advantage": "rank"},
    },
    "best, smoothed, frozen": {"rce": {"keep": "best", "label_smoothing": 0.1}, "grpo": {"freeze_backbone": True}},
    "top-1, normalised, clip only": {
        "rce": {"top1_only": True, "rewards": "group_normalised"},
        "grpo": {"ppo_clip_only": True, "curriculum": {"epochs": 1}},
        "model": {"layers": 0, "dropout": 0.0},
    },
}


@pytest.mark.parametrize(
    ("name", "metric"), zip(VARIANTS, ["listwise_calibrated", "listwise", "rce", "listwise"], strict=True)
)
def test_reports_are_those_of_the_cpu(name: str, metric: str) -> None:
    settings, validation = make_settings(**VARIANTS[name]), ValidationSettings.model_validate({"metric": metric})
    expected = [deterministic(report) for report in Training(settings, make_dataset(queries=14), validation)]
    with pretended_card():
        found = [
            deterministic(report) for report in Training(settings, make_dataset(queries=14), validation, device="cuda")
        ]
    assert found == expected


def test_a_stage_continues_on_a_card_and_selects_from_embeddings_on_either_side() -> None:
    settings = make_settings(grpo={"epochs": 4, "old_policy_refresh": 3}, rce={"keep": "best"})
    expected = [deterministic(report) for report in Training(settings, make_dataset(queries=14))][2:]
    with pretended_card():
        card = torch.device("cuda")
        data, evaluate = tensors_of(make_dataset(queries=14), card), evaluator(make_dataset(queries=14), card)
        rce = RceStage(settings, data, evaluate)
        list(rce)
        first = GrpoStage(settings, data, evaluate, rce.reference_weights())
        found = [deterministic(next(iter(first))), deterministic(next(iter(first)))]
        second = GrpoStage(settings, data, evaluate, rce.reference_weights())
        second.load_state(first.state())
        found += [deterministic(report) for report in second]
        query, pool = torch.randn(17), torch.randn(9, 17)
        picks = [second.model.select(query.to(card), pool.to(card), 3), second.model.select(query, pool, 3)]
        assert picks[0].tolist() == picks[1].tolist()
        assert picks[0].device.type == "cuda"
    assert found == expected


def test_the_card_refuses_what_a_card_refuses() -> None:
    with pretended_card() as waits:
        there = torch.arange(6.0, device="cuda")
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(6)
        with pytest.raises(RuntimeError, match="same device"):
            torch.ones(6)[there.long()]
        with pytest.raises(TypeError):
            there.numpy()
        assert (there + torch.tensor(1.0)).sum().item() == 21
        assert waits["aten::_local_scalar_dense"] == 1
        assert there.cpu().device.type == "cpu"
    assert torch.arange(2).device.type == "cpu"

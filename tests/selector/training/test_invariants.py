"""The three invariants of GRPO, held exactly and not nearly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from selector.batches import EpochNoise
from selector.reports import EpochReport, Stage
from selector.settings import ValidationMetric, ValidationSettings
from selector.training import GrpoStage, RceStage, Training
from selector.training.stage import TrainingStage, copy_weights
from tests.selector.worlds import (
    deterministic,
    evaluator,
    in_double,
    make_dataset,
    make_settings,
    measure,
    same_weights,
    shake,
    tensors_of,
)

DATASET = make_dataset()
KL_AND_DECODER = [(kl, decoder) for kl in ("exact", "k3") for decoder in ("static", "gate")]


def grpo_reports(dataset: Any = DATASET, **sections: Any) -> list[EpochReport]:
    return [r for r in Training(make_settings(**sections), dataset) if r.stage is Stage.GRPO]


def grpo_stage(dataset: Any = DATASET, **sections: Any) -> GrpoStage:
    """A stage that starts from a reference with no zero weights."""
    settings, data = make_settings(**sections), tensors_of(dataset)
    evaluate = evaluator(dataset)
    return GrpoStage(settings, data, evaluate, copy_weights(shake(RceStage(settings, data, evaluate).model, seed=4)))


def assert_unmoved(report: EpochReport) -> None:
    assert report.kl == 0.0
    assert report.ratio_min == report.ratio_mean == report.ratio_max == 1.0
    assert report.clip_fraction == 0.0
    assert report.kl_share == 0.0


# Invariant 1 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("refresh", [1, 3])
@pytest.mark.parametrize(("kl", "decoder"), KL_AND_DECODER)
def test_without_a_step_nothing_moves(kl: str, decoder: str, refresh: int, batch_size: int) -> None:
    reports = grpo_reports(
        model={"decoder": decoder, "dropout": 0.5},
        rce={"epochs": 1},
        grpo={
            "epochs": 4, "lr": 0.0, "kl_estimator": kl, "old_policy_refresh": refresh, "batch_size": batch_size,
            "weight_decay": 0.1,
        },
    )  # fmt: skip
    assert len(reports) == 4
    for report in reports:
        assert_unmoved(report)
        assert report.grad_norm > 0  # there was something to follow
        assert report.agreement_sequence == report.agreement_top1 == 1.0
        assert set(report.parameter_change.values()) == {0.0}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(
    ("layers", "width", "hidden", "heads", "pools"),
    [(0, 16, 16, 1, (5, 9)), (1, 33, 8, 1, (3, 4)), (2, 384, 64, 4, (64, 64)), (3, 31, 30, 5, (5, 12))],
)
def test_without_a_step_nothing_moves_in_any_shape(
    layers: int, width: int, hidden: int, heads: int, pools: tuple[int, int], frozen: bool
) -> None:
    """Shapes decide which kernel multiplies; so may a matrix that needs no gradient. No bit may differ."""
    dataset = make_dataset(seed=layers, width=width, pools=pools, picks=3)
    reports = grpo_reports(
        dataset,
        model={"layers": layers, "hidden": hidden, "heads": heads, "dropout": 0.3},
        rce={"epochs": 1},
        grpo={"epochs": 2, "lr": 0.0, "batch_size": 32, "freeze_backbone": frozen},
    )
    for report in reports:
        assert_unmoved(report)


@pytest.mark.parametrize("refresh", [1, 2, 3])
@pytest.mark.parametrize(("kl", "decoder"), KL_AND_DECODER)
def test_the_first_batch_is_unmoved_and_the_old_policy_follows_its_period(kl: str, decoder: str, refresh: int) -> None:
    """One batch per epoch: an epoch's statistics are those of its first batch, before its update."""
    reports = grpo_reports(
        model={"decoder": decoder},
        grpo={"epochs": 5, "lr": 1e-2, "batch_size": 64, "old_policy_refresh": refresh, "kl_estimator": kl},
    )
    assert_unmoved(reports[0])
    assert min(reports[0].parameter_change.values()) > 0
    for report in reports[1:]:
        assert report.kl > 1e-6
        fresh = (report.epoch - 1) % refresh == 0  # snapshots are taken at the start of epochs 1, 1 + refresh, ...
        assert (report.ratio_min == report.ratio_max == 1.0) is fresh
        assert fresh or report.ratio_max - report.ratio_min > 1e-3


def test_dropout_noise_alone_would_not_be_zero() -> None:
    """The check of the checks: with masks of their own the same weights give a large KL (what users measured)."""
    stage = grpo_stage(grpo={"epochs": 1})
    batch = stage.data.batch(stage.queries)
    one, other = (EpochNoise(stage.queries, 2, 24, 0.5, seed).masks(batch) for seed in (1, 2))
    encodings = [stage.model.encode(batch.query_BD, batch.cand_BKD, batch.cand_mask_BK, m) for m in (one, other)]
    steps = [stage.model.step_log_probs(encoding, batch.beams_BNS) for encoding in encodings]
    assert (steps[0] - steps[1]).nan_to_num().abs().max() > 1


# Invariant 2 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_reference_is_the_end_of_rce(keep: str) -> None:
    # A rate that overshoots, so that the best epoch is not the last. On random rewards only the plain metric moves.
    settings = make_settings(rce={"epochs": 6, "lr": 0.05, "keep": keep}, grpo={"epochs": 4})
    training = Training(settings, DATASET, ValidationSettings(metric=ValidationMetric.LISTWISE))
    losses, weights = [], []
    for report in training:
        if report.stage is Stage.RCE:
            losses.append(report.val_loss)
            weights.append(copy_weights(training.model))
        else:
            chosen = losses.index(min(losses)) if keep == "best" else -1
            assert same_weights(copy_weights(training.reference), weights[chosen])
            assert not same_weights(copy_weights(training.model), weights[chosen])
            expected = evaluator(DATASET)(training.reference).picks_QS == evaluator(DATASET)(training.model).picks_QS
            assert report.agreement_sequence == pytest.approx(expected.all(1).double().mean().item())
    assert min(losses) < losses[-1]


def test_rce_is_measured_against_the_untrained_selector() -> None:
    stage = RceStage(make_settings(), tensors_of(DATASET), evaluator(DATASET))
    before = copy_weights(stage.model)
    reports = list(stage)
    assert same_weights(copy_weights(stage.reference), before)
    assert all(change > 0 for change in reports[-1].parameter_change.values())
    assert all(getattr(reports[-1], name) is None for name in ("kl", "ratio_mean", "beta", "policy_loss", "kl_share"))


# Invariant 3 ----------------------------------------------------------------------------------------------------------


def rce_stage(**sections: Any) -> RceStage:
    stage = RceStage(make_settings(**sections), tensors_of(DATASET), evaluator(DATASET))
    shake(stage.model, seed=8)
    return stage


def moved_grpo_stage(**sections: Any) -> GrpoStage:
    stage = grpo_stage(**sections)
    shake(stage.model, seed=9, scale=0.01)
    return stage


VARIANTS: dict[str, tuple[Callable[..., TrainingStage], dict[str, Any]]] = {
    "rce": (rce_stage, {}),
    "rce smoothed": (rce_stage, {"rce": {"label_smoothing": 0.1, "rewards": "group_normalised"}}),
    "rce top1": (rce_stage, {"rce": {"top1_only": True}, "model": {"decoder": "static", "layers": 2}}),
    "grpo exact": (moved_grpo_stage, {"grpo": {"kl_beta": 0.5}}),
    "grpo k3": (moved_grpo_stage, {"grpo": {"kl_beta": 0.5, "kl_estimator": "k3", "advantage": "rank"}}),
    "grpo top-k": (moved_grpo_stage, {"grpo": {"top_k": {"enabled": True, "early_k": 4}, "advantage": "center"}}),
    "grpo clip only": (moved_grpo_stage, {"grpo": {"ppo_clip_only": True}, "model": {"dropout": 0.0, "layers": 0}}),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
def test_a_ragged_batch_equals_its_queries_one_at_a_time(name: str, double: bool) -> None:
    make, sections = VARIANTS[name]
    stage = make(**sections)
    stage.epoch = 1
    if double:
        in_double(stage)
    count = len(stage.queries)
    loss, gradient, numbers = measure(stage, [list(range(count))])
    singly = measure(stage, [[i] for i in reversed(range(count))])
    tolerance = 1e-11 if double else 1e-6
    # In single precision a logit (cosine / 0.1) is known to 1e-6 or so, and exp carries that to the extremes of ratios.
    loose = tolerance if double else 1e-5
    torch.testing.assert_close(loss, singly[0], rtol=tolerance, atol=tolerance)
    largest = max(float(value.abs().max()) for value in gradient.values())
    assert largest > 1e-3
    assert gradient.keys() == singly[1].keys()
    for parameter, value in gradient.items():
        torch.testing.assert_close(value, singly[1][parameter], rtol=0, atol=loose * max(largest, 1.0))
    assert numbers == pytest.approx(singly[2], rel=loose, abs=loose)
    assert numbers["zero_variance"] > 0.1


@pytest.mark.parametrize("name", ["rce", "grpo exact", "grpo k3", "grpo top-k"])
def test_an_epoch_without_steps_reports_the_same_for_every_batch_size(name: str) -> None:
    make, sections = VARIANTS[name]
    key = name.split()[0]
    reports = []
    for batch_size in (1, 7, 64):
        options = {**sections.get(key, {}), "lr": 0.0, "batch_size": batch_size, "epochs": 1}
        report = next(iter(make(**{**sections, key: options})))
        values = deterministic(report)
        assert values.pop("stage") == key
        values = {name: value for name, value in values.items() if value is not None}
        del values["grad_norm"]  # a mean over updates, of which there are more
        values |= values.pop("parameter_change")
        reports.append(values)
    for report in reports[1:]:
        assert report == pytest.approx(reports[0], rel=1e-5, abs=1e-5)
        assert report["train_loss"] == pytest.approx(reports[0]["train_loss"], rel=1e-6, abs=1e-6)


def test_validation_does_not_depend_on_its_batch_size() -> None:
    model = moved_grpo_stage().model
    results = [evaluator(DATASET, batch_size=size)(model) for size in (1, 3, 128)]
    for result in results[1:]:
        assert (result.loss, result.reward, result.entropy) == pytest.approx(
            (results[0].loss, results[0].reward, results[0].entropy), rel=1e-6
        )
        assert torch.equal(result.picks_QS, results[0].picks_QS)

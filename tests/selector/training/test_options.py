"""Every option of both stages does what it says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from selector.data.dataset import Dataset, Outcome, Split
from selector.errors import DataError, SettingsError
from selector.health import Verdict, assess
from selector.losses import clipped_surrogate
from selector.reports import EpochReport, Stage
from selector.rewards import compute_rewards
from selector.settings import HealthSettings, RewardMode, ValidationSettings
from selector.training import GrpoStage, RceStage, Training, train
from selector.training.grpo import BACKBONE
from selector.training.stage import copy_weights
from tests.selector.worlds import (
    deterministic,
    evaluator,
    group,
    make_dataset,
    make_settings,
    replace_columns,
    same_weights,
    tensors_of,
)

DATASET = make_dataset()


def run(dataset: Dataset = DATASET, **sections: Any) -> list[EpochReport]:
    return list(train(make_settings(**sections), dataset))


def grpo(dataset: Dataset = DATASET, **sections: Any) -> list[EpochReport]:
    return [report for report in run(dataset, **sections) if report.stage is Stage.GRPO]


def plain(reports: list[EpochReport]) -> list[dict[str, Any]]:
    return [deterministic(report) for report in reports]


# Rewards and data -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(RewardMode))
def test_every_reward_mode_trains(mode: RewardMode) -> None:
    reports = run(reward={"mode": mode.value})
    assert [report.stage for report in reports] == [Stage.RCE] * 2 + [Stage.GRPO] * 3
    assert [report.step for report in reports] == [1, 2, 3, 4, 5]
    assert [report.epoch for report in reports] == [1, 2, 1, 2, 3]
    for report in reports:
        numbers = [v for v in deterministic(report).values() if isinstance(v, float)]
        assert all(map(math.isfinite, numbers))
        assert report.grad_norm > 0
    assert reports[-1].advantage_std > 0.3
    assert 0 < reports[-1].zero_variance_share < 1
    assert min(reports[-1].parameter_change.values()) > 0


def test_training_lowers_what_it_minimises() -> None:
    reports = run(model={"dropout": 0.0}, rce={"epochs": 12, "tau_start": 0.3, "tau_end": 0.3}, grpo={"epochs": 0})
    assert reports[-1].train_loss < reports[0].train_loss - 0.3


def test_grpo_raises_the_expected_reward_of_training_queries() -> None:
    as_val = replace_columns(
        DATASET, split=np.where(DATASET.split == Split.TRAIN, Split.TRAIN, Split.VAL).astype(np.int8)
    )
    training = Training(make_settings(model={"dropout": 0.0}, grpo={"epochs": 10, "kl_beta": 0.01}), as_val)
    swapped = np.where(as_val.split == Split.TRAIN, Split.VAL, Split.TRAIN).astype(np.int8)
    on_train = evaluator(replace_columns(DATASET, split=swapped))
    rewards = [on_train(training.model).reward for report in training if report.stage is Stage.GRPO]
    assert rewards[-1] > rewards[0] + 0.05


def test_the_data_is_never_written_to() -> None:
    before = DATASET.fingerprint()
    run(reward={"mode": "legacy"}, rce={"rewards": "group_normalised"}, grpo={"top_k": {"enabled": True}})
    assert DATASET.fingerprint() == before


def test_a_missing_reward_column_is_refused_before_the_first_stage() -> None:
    outcomes = {name: values for name, values in DATASET.outcomes.items() if name is not Outcome.GT_PROB}
    dataset = replace_columns(DATASET, outcomes=outcomes)
    sections = {"reward": {"mode": "hard01_plus_gtprob"}, "rce": {"epochs": 3, "reward": {"mode": "hard_only"}}}
    with pytest.raises(DataError, match="hard01_plus_gtprob needs vqa_gt_prob"):
        train(make_settings(**sections), dataset)
    assert len(run(dataset, **sections, grpo={"epochs": 0})) == 3


def test_rce_has_a_reward_of_its_own() -> None:
    shared = [run(reward={"mode": mode}, rce={"reward": {"mode": "hard_only"}}) for mode in ("hard_only", "soft_only")]
    assert plain(shared[0])[:2] == plain(shared[1])[:2]
    assert plain(shared[0])[2:] != plain(shared[1])[2:]
    assert plain(shared[0]) == plain(run(reward={"mode": "hard_only"}))


def test_an_empty_train_split_is_refused() -> None:
    dataset = replace_columns(DATASET, split=np.full(DATASET.queries, Split.VAL, dtype=np.int8))
    with pytest.raises(DataError, match="the train split is empty"):
        train(make_settings(), dataset)


# RCE ------------------------------------------------------------------------------------------------------------------


def test_tau_moves_linearly_over_the_stage() -> None:
    reports = run(rce={"epochs": 5, "tau_start": 2.0, "tau_end": 0.4}, grpo={"epochs": 0})
    assert [report.tau for report in reports] == pytest.approx([2.0, 1.6, 1.2, 0.8, 0.4])
    assert [r.tau for r in run(rce={"epochs": 1, "tau_start": 2.0, "tau_end": 0.4}, grpo={"epochs": 0})] == [2.0]


@pytest.mark.parametrize("option", [{"label_smoothing": 0.3}, {"top1_only": True}, {"rewards": "group_normalised"}])
def test_rce_options_reach_the_loss(option: dict[str, Any]) -> None:
    usual, changed = (run(rce={"epochs": 1, **extra}, grpo={"epochs": 0}) for extra in ({}, option))
    assert abs(usual[0].train_loss - changed[0].train_loss) > 1e-3


def test_a_clamp_reaches_the_loss_where_rewards_are_normalised_and_names_a_warm_up_of_its_own() -> None:
    def losses(rewards: str) -> list[float]:
        sections = ({"rewards": rewards, "reward_clip": clip, "epochs": 1} for clip in (None, 0.1))
        return [run(rce=section, grpo={"epochs": 0})[0].train_loss for section in sections]

    def keys(rewards: str) -> list[str]:
        clips = (None, 0.1, 3.0)
        return [str(make_settings(rce={"rewards": rewards, "reward_clip": clip}).rce_key()) for clip in clips]

    normalised, raw = losses("group_normalised"), losses("raw")
    assert abs(normalised[0] - normalised[1]) > 1e-3 and raw[0] == raw[1]
    assert len(set(keys("group_normalised"))) == 3 and len(set(keys("raw"))) == 1
    assert "reward_clip" not in keys("group_normalised")[0], "warm-ups of earlier versions keep their names"


@pytest.mark.parametrize("stage", [Stage.RCE, Stage.GRPO])
def test_dropout_acts_in_both_stages(stage: Stage) -> None:
    """Only masks differ here: same weights at the start, same order of queries, no step."""
    norms, losses = set(), set()
    for dropout in (0.0, 0.5):
        sections = {"model": {"dropout": dropout}, stage.value: {"lr": 0.0, "epochs": 1, "batch_size": 64}}
        other = Stage.GRPO if stage is Stage.RCE else Stage.RCE
        report = run(**sections, **{other.value: {"epochs": 0}})[0]
        norms.add(report.grad_norm)
        losses.add(report.val_loss)
    assert len(norms) == 2
    assert len(losses) == 1  # and never in validation


def test_any_seed_that_settings_allow_can_be_trained() -> None:
    assert len(run(seed=2**80, rce={"epochs": 1}, grpo={"epochs": 1})) == 2


# GRPO -----------------------------------------------------------------------------------------------------------------


def test_stages_can_be_left_out() -> None:
    only_rce = Training(make_settings(grpo={"epochs": 0}), DATASET)
    reports = list(only_rce)
    assert [report.stage for report in reports] == [Stage.RCE] * 2
    both = run()
    assert plain(reports) == plain(both)[:2]
    only_grpo = Training(make_settings(rce={"epochs": 0}), DATASET)
    untrained = copy_weights(only_grpo.model)
    assert [report.step for report in only_grpo] == [1, 2, 3]
    assert same_weights(copy_weights(only_grpo.reference), untrained)


@pytest.mark.parametrize("decoder", ["static", "gate"])
def test_freeze_backbone(decoder: str) -> None:
    training = Training(make_settings(model={"decoder": decoder}, grpo={"freeze_backbone": True}), DATASET)
    report = list(training)[-1]
    before, after = copy_weights(training.reference), copy_weights(training.model)
    frozen = {name for name in before if name.split(".")[0] in BACKBONE}
    assert {name.split(".")[0] for name in frozen} == {"input_proj", "query_proj", "cand_proj"}
    assert {name for name in before if torch.equal(before[name], after[name])} == frozen
    assert {name for name, change in report.parameter_change.items() if change == 0.0} == set(BACKBONE)


def test_freezing_all_that_one_pick_uses_is_refused() -> None:
    sections = {"model": {"layers": 0, "decoder": "gate"}, "grpo": {"freeze_backbone": True}}
    with pytest.raises(SettingsError, match="only the gate"):
        train(make_settings(**sections), make_dataset(picks=1))
    assert len(run(**sections)) == 5  # with two picks the gate learns


def test_clip_only_has_no_kl_gradient() -> None:
    clip_only = grpo(grpo={"ppo_clip_only": True, "kl_beta": 5.0})
    no_beta = grpo(grpo={"kl_beta": 0.0})
    assert plain(clip_only) == plain(no_beta)
    assert plain(clip_only) != plain(grpo(grpo={"kl_beta": 5.0}))
    for report in clip_only:
        assert report.beta == report.kl_share == 0.0
        assert report.train_loss == report.policy_loss
    assert clip_only[-1].kl > 1e-4  # measured all the same


def test_loss_is_policy_loss_plus_beta_times_kl() -> None:
    for report in grpo(grpo={"kl_beta": 0.7}):
        penalty = 0.7 * report.kl
        assert report.train_loss == pytest.approx(report.policy_loss + penalty, rel=1e-5, abs=1e-7)
        assert report.kl_share == pytest.approx(penalty / (abs(report.policy_loss) + penalty) if penalty else 0.0)


def test_groups_of_constant_reward_feel_only_the_kl() -> None:
    outcomes = {name: np.zeros_like(values) for name, values in DATASET.outcomes.items()}
    train_rows = np.repeat(DATASET.split == Split.TRAIN, np.diff(DATASET.beam_starts))
    for name, values in outcomes.items():
        values[~train_rows] = DATASET.outcomes[name][~train_rows]
    dataset = replace_columns(DATASET, outcomes=outcomes)
    report = grpo(dataset, grpo={"epochs": 3, "weight_decay": 0.0})[-1]
    assert report.zero_variance_share == 1.0
    assert report.policy_loss == report.advantage_std == report.kl == report.grad_norm == 0.0
    assert set(report.parameter_change.values()) == {0.0}  # not even rounding noise that Adam would amplify
    settings, data, evaluate = make_settings(), tensors_of(dataset), evaluator(dataset)
    stage = GrpoStage(settings, data, evaluate, copy_weights(RceStage(settings, data, evaluate).model))
    with torch.no_grad():
        stage.model.query_proj.weight.mul_(1.5).add_(0.1)
    moved = next(iter(stage))
    assert moved.policy_loss == 0.0
    assert moved.kl > 0
    assert moved.grad_norm > 0


def test_asymmetric_clip_and_clip_fraction() -> None:
    sections = {"grpo": {"lr": 0.02, "clip_epsilon": 0.05, "clip_epsilon_high": 0.9, "old_policy_refresh": 3}}
    settings, data, evaluate = make_settings(**sections), tensors_of(DATASET), evaluator(DATASET)
    stage = GrpoStage(settings, data, evaluate, copy_weights(RceStage(settings, data, evaluate).model))
    seen = []

    def spy(ratio: torch.Tensor, advantage: torch.Tensor, mask: torch.Tensor, low: float, high: float) -> torch.Tensor:
        seen.append((ratio.detach()[mask], advantage[mask], low, high))
        return clipped_surrogate(ratio, advantage, mask, low, high)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selector.training.grpo.clipped_surrogate", spy)
        report = list(stage)[1]
    assert {(low, high) for _, _, low, high in seen} == {(0.05, 0.9)}
    batches = len(seen) // 3
    ratio, advantage = (torch.cat([row[i] for row in seen[batches : 2 * batches]]) for i in (0, 1))
    clipped = ((ratio > 1.9) & (advantage > 0)) | ((ratio < 0.95) & (advantage < 0))
    assert report.clip_fraction == pytest.approx(clipped.double().mean().item())
    assert 0 < report.clip_fraction < 1
    assert report.ratio_min == ratio.min().item()
    assert report.ratio_max == ratio.max().item()
    assert report.ratio_mean == pytest.approx(ratio.double().mean().item())
    assert report.advantage_std == pytest.approx(advantage.double().std(correction=0).item())
    assert report.advantage_mean == pytest.approx(advantage.double().mean().item(), abs=1e-9)
    assert report.advantage_max == pytest.approx(advantage.abs().max().item())


class TestAdaptiveBeta:
    @staticmethod
    def betas(lr: float, kl_beta: float, **adaptive: Any) -> list[float]:
        reports = grpo(
            grpo={
                "epochs": 5,
                "lr": lr,
                "kl_beta": kl_beta,
                "adaptive_beta": {"enabled": True, "factor": 2, **adaptive},
            }
        )
        return [report.beta for report in reports]

    def test_falls_below_the_target_down_to_the_minimum(self) -> None:
        assert self.betas(0.0, 0.4, minimum=0.07) == pytest.approx([0.4, 0.2, 0.1, 0.07, 0.07])

    def test_rises_above_the_target_up_to_the_maximum(self) -> None:
        low = {"target_low": 0.0, "target_high": 1e-9}
        assert self.betas(1e-2, 0.4, maximum=2.5, **low) == pytest.approx([0.4, 0.8, 1.6, 2.5, 2.5])

    def test_rests_within_the_target(self) -> None:
        assert self.betas(1e-3, 0.4, target_low=0.0, target_high=1e6) == [0.4] * 5

    def test_never_moves_against_its_direction(self) -> None:
        """A kl_beta outside of the bounds is left there, not pulled to the near bound by a step the other way."""
        assert self.betas(0.0, 0.001, minimum=0.01) == [0.001] * 5
        assert self.betas(1e-2, 7.0, maximum=5.0, target_low=0.0, target_high=1e-9) == [7.0] * 5

    def test_off_by_default_and_without_a_penalty(self) -> None:
        assert {report.beta for report in grpo(grpo={"lr": 0.0, "kl_beta": 0.4})} == {0.4}
        assert self.betas(0.0, 0.0) == [0.0] * 5


class TestCurriculum:
    train = DATASET.indices(Split.TRAIN)
    rewards = compute_rewards(DATASET.outcomes, make_settings().reward)

    def test_has_positive(self) -> None:
        correct = DATASET.outcomes[Outcome.CORRECT]
        kept = sum(correct[group(DATASET, q)].any() for q in self.train)
        assert 0 < kept < len(self.train)
        reports = grpo(grpo={"curriculum": {"epochs": 2}})
        assert [report.train_queries for report in reports] == [kept, kept, len(self.train)]

    @pytest.mark.parametrize(("gap", "positives", "negatives"), [(0.5, 1, 1), (1.95, 1, 1), (0.0, 2, 3)])
    def test_contrast(self, gap: float, positives: int, negatives: int) -> None:
        kept = 0
        for q in self.train:
            rewards, correct = self.rewards[group(DATASET, q)], DATASET.outcomes[Outcome.CORRECT][group(DATASET, q)]
            enough = correct.sum() >= positives and (1 - correct).sum() >= negatives
            kept += bool(rewards.max() - rewards.min() >= gap and enough)
        assert 0 < kept < len(self.train)
        options = {"filter": "contrast", "min_gap": gap, "min_positives": positives, "min_negatives": negatives}
        reports = grpo(grpo={"curriculum": {"epochs": 1, **options}})
        assert [report.train_queries for report in reports] == [kept, len(self.train), len(self.train)]

    def test_a_filter_that_keeps_nothing_is_refused_before_the_first_stage(self) -> None:
        curriculum = {"epochs": 1, "filter": "contrast", "min_gap": 100.0}
        with pytest.raises(DataError, match=r"filter contrast keeps none of the 17 training queries"):
            train(make_settings(grpo={"curriculum": curriculum}), DATASET)

    def test_positives_without_the_hard_column_are_positive_rewards(self) -> None:
        dataset = replace_columns(DATASET, outcomes={Outcome.ACC_SCORE: DATASET.outcomes[Outcome.ACC_SCORE]})
        kept = sum((dataset.outcomes[Outcome.ACC_SCORE][group(dataset, q)] > 0).any() for q in self.train)
        settings = make_settings(reward={"mode": "soft_only"}, grpo={"epochs": 1, "curriculum": {"epochs": 1}})
        reports = Training(settings, dataset, ValidationSettings.model_validate({"reward": {"mode": "soft_only"}}))
        assert [r.train_queries for r in reports if r.stage is Stage.GRPO] == [kept]


def test_top_k_keeps_early_then_late_k_and_shrinks_the_advantage() -> None:
    top_k = {"enabled": True, "early_k": 2, "late_k": 4, "early_epochs": 1}
    settings, data, evaluate = make_settings(grpo={"top_k": top_k}), tensors_of(DATASET), evaluator(DATASET)
    stage = GrpoStage(settings, data, evaluate, copy_weights(RceStage(settings, data, evaluate).model))
    batch = data.batch(stage.queries)
    sizes = batch.beam_mask_BN.sum(1)
    reward_BN = stage._rewards[batch.beam_index_BN]
    for epoch, k in ((1, 2), (2, 4), (3, 4)):
        stage.epoch = epoch
        kept = stage._beam_mask(reward_BN, batch.beam_mask_BN)
        assert torch.equal(kept.sum(1), sizes.clamp_max(k))
    usual, cut = grpo(grpo={"epochs": 2}), grpo(grpo={"epochs": 2, "top_k": top_k})
    assert cut[0].zero_variance_share > usual[0].zero_variance_share
    assert cut[0].advantage_std < usual[0].advantage_std


# Rates ----------------------------------------------------------------------------------------------------------------


def test_rates_run_over_the_whole_stage_and_over_filtered_epochs() -> None:
    """17 queries in batches of 6: 3 updates an epoch, fewer while the curriculum filters."""
    options = {"epochs": 3, "lr": 1.0, "schedule": "cosine", "warmup_fraction": 0.0}
    reports = run(rce={**options, "lr": 1e-3}, grpo={**options, "lr": 1e-4, "curriculum": {"epochs": 1}})
    assert [r.lr for r in reports[:3]] == pytest.approx([1e-3 * (1 + math.cos(math.pi * i / 9)) / 2 for i in (0, 3, 6)])
    first = math.ceil(reports[3].train_queries / 6)
    total = first + 6
    expected = [1e-4 * (1 + math.cos(math.pi * i / total)) / 2 for i in (0, first, first + 3)]
    assert [r.lr for r in reports[3:]] == pytest.approx(expected)


# Divergence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["rce", "grpo"])
@pytest.mark.parametrize("decoder", ["static", "gate"])
def test_an_exploding_rate_gives_reports_not_exceptions(stage: str, decoder: str) -> None:
    settings = HealthSettings()
    reports = [r for r in run(model={"decoder": decoder}, **{stage: {"lr": 1e30}}) if r.stage.value == stage]
    assert len(reports) == (2 if stage == "rce" else 3)
    assert not math.isfinite(reports[-1].train_loss)
    assert not math.isfinite(reports[-1].val_loss)
    assert Verdict.DIVERGED in assess(reports[-1], settings)

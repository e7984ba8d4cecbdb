"""Losses against loops over single numbers, their bounds, and their gradients against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selector.batches import Batch, EpochNoise
from selector.losses import (
    beam_log_probs,
    clipped_surrogate,
    kl_exact,
    kl_k3,
    listwise_loss,
    masked_mean,
    rce_loss,
    reward_weights,
    step_entropy,
)
from selector.model import build_selector
from selector.training import GrpoStage, RceStage
from selector.training.stage import EpochMeans, TrainingStage, copy_weights
from tests.selector.worlds import evaluator, in_double, make_dataset, make_settings, pad, shake, tensors_of

SIZES = [(7, 3), (4, 5), (6, 1)]  # candidates and beams of each query; S = 3


def steps(seed: int, scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Random step log-probabilities [3, 5, 3, 7], the beams that mask them, and the beams' mask."""
    generator = torch.Generator().manual_seed(17)
    S, N, K = 3, 5, 7
    beams_BNS = torch.stack(
        [torch.stack([torch.randperm(k, generator=generator)[:S] for _ in range(N)]) for k, _ in SIZES]
    )
    mask_BN = torch.tensor([[n < count for n in range(N)] for _, count in SIZES])
    logits = scale * torch.randn(3, N, S, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for b, (k, _) in enumerate(SIZES):
        logits[b, :, :, k:] = -torch.inf
    for s in range(1, S):
        for earlier in range(s):
            logits[:, :, s].scatter_(2, beams_BNS[:, :, earlier, None], -torch.inf)
    return logits.log_softmax(-1), beams_BNS, mask_BN


def slow_kl(p: Tensor, q: Tensor) -> float:
    return sum(math.exp(a) * (a - b) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a > -math.inf)


def test_beam_log_probs() -> None:
    steps_BNSK, beams_BNS, mask_BN = steps(0)
    found = beam_log_probs(steps_BNSK, beams_BNS, mask_BN)
    for b, (_, count) in enumerate(SIZES):
        for n in range(count):
            expected = sum(float(steps_BNSK[b, n, s, beams_BNS[b, n, s]]) for s in range(3))
            assert math.isclose(found[b, n].item(), expected, rel_tol=1e-12)
        assert (found[b, count:] == 0).all()


def test_masked_mean_ignores_garbage() -> None:
    values_BN, mask_BN = pad([[1.0, 2.0, 6.0], [4.0]], filler=math.nan)
    assert masked_mean(values_BN, mask_BN).tolist() == [3.0, 4.0]


class TestRewardWeights:
    groups = [[1.0, 0.0, 2.0, 2.0], [0.5], [0.0, 0.0]]

    @pytest.mark.parametrize("tau", [0.05, 1.0, 7.0])
    @pytest.mark.parametrize("normalise", [False, True])
    @pytest.mark.parametrize("filler", [0.0, 99.0, math.nan])
    def test_softmax_over_the_group(self, tau: float, normalise: bool, filler: float) -> None:
        found = reward_weights(*pad(self.groups, filler, extra=1), tau, normalise, top1_only=False)
        for row, group in zip(found.tolist(), self.groups, strict=True):
            rewards = np.array(group)
            if normalise:
                rewards = (rewards - rewards.mean()) / max(rewards.std(), 1e-4)
            powers = np.exp((rewards - rewards.max()) / tau)
            np.testing.assert_allclose(row[: len(group)], powers / powers.sum(), rtol=1e-12)
            assert not any(row[len(group) :])

    @pytest.mark.parametrize(("limit", "weight"), [(None, 0.838), (3.0, 0.571), (0.1, 0.060)])
    def test_one_positive_in_20_normalised_and_clamped(self, limit: float | None, weight: float) -> None:
        group = pad([[0.0] * 12 + [1.0] + [0.0] * 7], math.nan, extra=3)
        found = reward_weights(*group, tau=1.0, normalise=True, top1_only=False, limit=limit)[0]
        assert round(float(found[12]), 3) == weight and float(found.sum()) == pytest.approx(1)
        assert len(set(found[:12].tolist() + found[13:20].tolist())) == 1 and not found[20:].any()
        with_sample_deviation = math.exp(3) / (math.exp(3) + 19 * math.exp(-0.05 / math.sqrt(0.05 * 0.95 * 20 / 19)))
        assert round(with_sample_deviation, 3) == 0.569, "the earlier trainer's figure, which docs/training.md has"

    def test_a_limit_means_nothing_to_raw_rewards(self) -> None:
        plain, limited = (
            reward_weights(*pad(self.groups, 0.0), 1.0, normalise=False, top1_only=False, limit=limit)
            for limit in (None, 0.1)
        )
        assert torch.equal(plain, limited)

    def test_top1_is_the_first_of_the_best(self) -> None:
        found = reward_weights(*pad(self.groups, 99.0), 1.0, normalise=False, top1_only=True)
        assert found.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]]

    def test_zero_reward_groups_are_uniform(self) -> None:
        assert reward_weights(*pad([[0.0] * 4], 0.0), 0.25, normalise=True, top1_only=False).tolist() == [[0.25] * 4]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_rce_against_a_loop(smoothing: float) -> None:
    steps_BNSK, beams_BNS, mask_BN = steps(0)
    weight_BN = reward_weights(torch.rand(3, 5, dtype=torch.float64), mask_BN, 0.5, normalise=False, top1_only=False)
    found = rce_loss(steps_BNSK, beams_BNS, mask_BN, weight_BN, smoothing)
    for b, (k, count) in enumerate(SIZES):
        expected = 0.0
        for n in range(count):
            for s in range(3):
                chosen = beams_BNS[b, n, :s].tolist()
                left = [c for c in range(k) if c not in chosen]
                for c in left:
                    target = (1 - smoothing) * (c == beams_BNS[b, n, s].item()) + smoothing / len(left)
                    expected -= weight_BN[b, n].item() * target * steps_BNSK[b, n, s, c].item()
        assert math.isclose(found[b].item(), expected, rel_tol=1e-12)


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.1, 0.4)])
def test_clipped_surrogate_against_a_loop(low: float, high: float) -> None:
    ratios = [[0.5, 0.5, 1.0, 1.15, 1.3, 1.6, 1.6], [0.85, 3.0]]
    signs = [[1.0, -2.0, 3.0, 1.0, -1.0, 0.5, -0.5], [0.0, 0.0]]
    ratio_BN, mask_BN = pad(ratios, filler=math.nan)
    found = clipped_surrogate(ratio_BN, pad(signs, filler=5.0)[0], mask_BN, low, high)
    for value, row_r, row_a in zip(found.tolist(), ratios, signs, strict=True):
        terms = [min(r * a, min(max(r, 1 - low), 1 + high) * a) for r, a in zip(row_r, row_a, strict=True)]
        assert math.isclose(value, -sum(terms) / len(terms), rel_tol=1e-12, abs_tol=1e-15)


def test_clipped_surrogate_gradient_is_the_policy_gradient_at_ratio_one_and_zero_beyond_the_clip() -> None:
    ratio_BN = torch.tensor([[1.0, 1.0, 1.3, 1.3, 0.7, 0.7]], dtype=torch.float64, requires_grad=True)
    advantage_BN = torch.tensor([[2.0, -2.0, 1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    clipped_surrogate(ratio_BN, advantage_BN, torch.ones(1, 6, dtype=torch.bool), 0.2, 0.2).sum().backward()
    assert ratio_BN.grad is not None
    torch.testing.assert_close(
        ratio_BN.grad * -6, torch.tensor([[2.0, -2.0, 0.0, -1.0, 1.0, 0.0]], dtype=torch.float64)
    )


class TestKl:
    def test_exact_equals_a_brute_force_sum(self) -> None:
        (p, _, mask_BN), (q, _, _) = steps(0), steps(1)
        found = kl_exact(p, q, mask_BN)
        for b, (_, count) in enumerate(SIZES):
            expected = sum(slow_kl(p[b, n, s], q[b, n, s]) for n in range(count) for s in range(3)) / count
            assert math.isclose(found[b].item(), expected, rel_tol=1e-12)

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
    def test_never_negative(self, scale: float) -> None:
        for seed in range(20):
            (p, beams, mask_BN), (q, _, _) = steps(seed, scale), steps(seed + 100, scale)
            assert (kl_exact(p, q, mask_BN) >= -1e-14).all()
            log_p, log_q = beam_log_probs(p, beams, mask_BN), beam_log_probs(q, beams, mask_BN)
            assert (kl_k3(log_p, log_q, mask_BN) >= -1e-14).all()

    def test_exactly_zero_for_equal_policies(self) -> None:
        p, beams, mask_BN = steps(0)
        for dtype in (torch.float32, torch.float64):
            same = p.to(dtype)
            log_prob = beam_log_probs(same, beams, mask_BN)
            assert (kl_exact(same, same.clone(), mask_BN) == 0).all()
            assert (kl_k3(log_prob, log_prob.clone(), mask_BN) == 0).all()

    def test_k3_against_a_loop(self) -> None:
        log_p, mask_BN = pad([[-1.0, -2.0, -3.0], [-4.0]], filler=0.0)
        log_q, _ = pad([[-1.5, -2.0, -1.0], [-4.5]], filler=math.nan)
        expected = [sum(math.exp(d) - d - 1 for d in (-0.5, 0.0, 2.0)) / 3, math.exp(-0.5) + 0.5 - 1]
        torch.testing.assert_close(kl_k3(log_p, log_q, mask_BN), torch.tensor(expected, dtype=torch.float64))

    def test_gradients_are_finite_and_zero_at_equality(self) -> None:
        p, _, mask_BN = steps(0)
        q = p.clone()
        logits = p.clone().requires_grad_()
        kl_exact(logits.log_softmax(-1), q.log_softmax(-1), mask_BN).sum().backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert logits.grad.abs().max() < 1e-12

    def test_exact_is_the_expectation_of_k3_and_of_the_log_ratio(self) -> None:
        """For one step, averaging k3 under pi over all candidates gives the exact KL: E[exp(d)] = 1."""
        (p, _, _), (q, _, _) = steps(0), steps(1)
        p, q = p[0, 0, 0], q[0, 0, 0]
        d = q - p
        exact = kl_exact(p[None, None, None], q[None, None, None], torch.tensor([[True]]))
        torch.testing.assert_close((p.exp() * (d.exp() - d - 1)).sum(), exact[0])


def test_listwise_against_a_loop_and_its_least_value() -> None:
    log_prob_BN, mask_BN = pad([[-3.0, -5.0, -9.0], [-2.0, -2.5]], filler=0.0, extra=1)
    target_BN, _ = pad([[0.7, 0.2, 0.1], [0.5, 0.5]], filler=0.0, extra=1)
    for b, found in enumerate(listwise_loss(log_prob_BN, target_BN, mask_BN).tolist()):
        log_probs, targets = log_prob_BN[b][mask_BN[b]].tolist(), target_BN[b][mask_BN[b]].tolist()
        norm = math.log(sum(map(math.exp, log_probs)))
        assert math.isclose(found, -sum(t * (lp - norm) for t, lp in zip(targets, log_probs, strict=True)))
        assert found > -sum(t * math.log(t) for t in targets)  # the target's own entropy
    perfect = listwise_loss(target_BN.log().nan_to_num(neginf=-99) - 7, target_BN, mask_BN)
    entropy = -(target_BN * target_BN.clamp_min(1e-300).log()).sum(1)
    torch.testing.assert_close(perfect, entropy)


def test_entropy_of_one_pick() -> None:
    p, _, mask_BN = steps(0)
    found = step_entropy(p, mask_BN)
    for b, (_, count) in enumerate(SIZES):
        rows = [p[b, n, s].tolist() for n in range(count) for s in range(3)]
        expected = [-sum(math.exp(x) * x for x in row if x > -math.inf) for row in rows]
        assert math.isclose(found[b].item(), sum(expected) / len(expected), rel_tol=1e-12)


# Gradients of what the stages really minimise, parameter by parameter -------------------------------------------------


def stage_in_double(kind: str, sections: dict[str, Any]) -> TrainingStage:
    dataset = make_dataset(seed=5, queries=6, width=5, picks=2, pools=(3, 5), groups=(2, 4))
    model = {"hidden": 6, "heads": 2, "layers": 2, "decoder": "gate", "temperature": 0.5}
    settings = make_settings(model=model, **sections)
    data, evaluate = tensors_of(dataset), evaluator(dataset)
    if kind == "rce":
        stage: TrainingStage = RceStage(settings, data, evaluate)
    else:
        reference = shake(build_selector(RceStage(settings, data, evaluate).model.config, seed=1), seed=1)
        stage = GrpoStage(settings, data, evaluate, copy_weights(reference))
    in_double(stage)
    stage.epoch = 1
    shake(stage.model, seed=2, scale=0.15)  # away from the reference and from zero initialisations
    return stage


def objective(stage: TrainingStage) -> tuple[Batch, Callable[[], Tensor]]:
    architecture = stage.settings.model
    noise = EpochNoise(stage.queries, architecture.layers + 1, architecture.hidden, architecture.dropout, "test")
    batch = stage.data.batch(stage.queries)
    return batch, lambda: stage._update(batch, noise, EpochMeans())


DIRECTIONS = 6


def worst_gradient_error(stage: TrainingStage, loss: Callable[[], Tensor]) -> float:
    """Largest difference to central differences, relative to the largest found: every parameter tensor moved in
    several random directions of length one, on which all of its entries have their share."""
    generator = torch.Generator().manual_seed(3)
    stage.model.zero_grad()
    loss().backward()
    error, size, h = 0.0, 0.0, 1e-5
    for parameter in stage.model.parameters():
        assert parameter.grad is not None
        kept = parameter.data.clone()
        for _ in range(min(DIRECTIONS, kept.numel())):
            direction = torch.randn(kept.shape, generator=generator, dtype=kept.dtype)
            direction /= direction.norm()
            with torch.no_grad():
                parameter.data.copy_(kept + h * direction)
                above = loss().item()
                parameter.data.copy_(kept - h * direction)
                below = loss().item()
            slope = float((parameter.grad * direction).sum())
            size = max(size, abs(slope))
            error = max(error, abs((above - below) / (2 * h) - slope))
        parameter.data.copy_(kept)
    assert size > 1e-3
    return error / size


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.2},
        {"top1_only": True},
        {"rewards": "group_normalised", "tau_start": 0.5},
        {"rewards": "group_normalised", "top1_only": True, "label_smoothing": 0.5},
        {"rewards": "group_normalised", "reward_clip": 0.5},
    ],
    ids=str,
)
def test_rce_gradient(options: dict[str, Any]) -> None:
    stage = stage_in_double("rce", {"rce": options})
    assert worst_gradient_error(stage, objective(stage)[1]) < 1e-7


@pytest.mark.parametrize(
    "options",
    [
        {"kl_estimator": "exact", "kl_beta": 0.5},
        {"kl_estimator": "k3", "kl_beta": 0.5},
        {"ppo_clip_only": True},
        {"kl_estimator": "exact", "kl_beta": 0.1, "advantage": "rank", "clip_epsilon": 0.1, "clip_epsilon_high": 0.6},
        {"kl_estimator": "k3", "kl_beta": 0.1, "advantage": "center", "top_k": {"enabled": True, "early_k": 2}},
    ],
    ids=str,
)
def test_grpo_gradient(options: dict[str, Any]) -> None:
    stage = stage_in_double("grpo", {"grpo": options})
    assert isinstance(stage, GrpoStage)
    batch, loss = objective(stage)
    means = EpochMeans()
    noise = EpochNoise(stage.queries, 3, 6, 0.5, "test")
    stage._update(batch, noise, means)
    numbers = stage._stage_numbers(means)
    assert numbers["clip_fraction"]  # both branches of the minimum are in play
    assert numbers["kl"]
    assert numbers["kl"] > 0.01
    assert worst_gradient_error(stage, loss) < 1e-7

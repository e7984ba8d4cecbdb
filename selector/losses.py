"""Losses of both stages as pure functions.

Each returns one value per query, and the caller takes the mean over queries. So a ragged batch equals the same queries
one at a time (invariant 3).

Legend: B queries, N beams, S picks, K candidates. `steps_BNSK` are log-probabilities, -inf at unavailable candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selector.advantages import group_mean_std


def beam_log_probs(steps_BNSK: Tensor, beams_BNS: Tensor, mask_BN: Tensor) -> Tensor:
    """Log-probability of every beam, log pi(b|q): the sum over steps of the picked ones, [B, N]. 0 at padding."""
    picked_BNS = steps_BNSK.gather(3, beams_BNS[:, :, :, None])[..., 0]
    return picked_BNS.sum(2).masked_fill(~mask_BN, 0.0)


def masked_mean(values_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """Mean over valid beams, [B]."""
    return values_BN.masked_fill(~mask_BN, 0.0).sum(1) / mask_BN.sum(1)


def reward_weights(
    reward_BN: Tensor, mask_BN: Tensor, tau: float, normalise: bool, top1_only: bool, limit: float | None = None
) -> Tensor:
    """Weights w = softmax(r / tau) over the group's valid beams, [B, N]. 0 at padding.

    `normalise` z-scores rewards within the group first. `limit` then clamps them to [-limit, limit]; None does not.
    `top1_only` puts all weight on the first of the best beams.
    """
    if normalise:
        mean_B1, std_B1 = group_mean_std(reward_BN, mask_BN)
        reward_BN = (reward_BN - mean_B1) / std_B1.clamp_min(1e-4)
        if limit is not None:
            reward_BN = reward_BN.clamp(-limit, limit)
    masked_BN = reward_BN.masked_fill(~mask_BN, -torch.inf)
    if top1_only:
        return torch.zeros_like(reward_BN).scatter(1, masked_BN.argmax(1, keepdim=True), 1.0)
    return (masked_BN / tau).softmax(1)


def rce_loss(
    steps_BNSK: Tensor, beams_BNS: Tensor, mask_BN: Tensor, weight_BN: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Reward-weighted cross-entropy, [B]: sum_b w_b (-log pi(b|q)).

    Label smoothing mixes each pick's target with the uniform distribution over the candidates available at that step
    (Szegedy et al. 2016).
    """
    loss_BN = -beam_log_probs(steps_BNSK, beams_BNS, mask_BN)
    if label_smoothing:
        available_BNSK = steps_BNSK.isfinite()
        spread_BNS = steps_BNSK.masked_fill(~available_BNSK, 0.0).sum(3) / available_BNSK.sum(3)
        uniform_BN = -spread_BNS.sum(2).masked_fill(~mask_BN, 0.0)
        loss_BN = (1 - label_smoothing) * loss_BN + label_smoothing * uniform_BN
    return (weight_BN * loss_BN).sum(1)


def clipped_surrogate(
    ratio_BN: Tensor, advantage_BN: Tensor, mask_BN: Tensor, epsilon_low: float, epsilon_high: float
) -> Tensor:
    """-mean_b min(rho A, clip(rho, 1 - e_low, 1 + e_high) A), [B] (Schulman et al. 2017, eq. 7, ratio of sequences)."""
    clipped_BN = ratio_BN.clamp(1 - epsilon_low, 1 + epsilon_high)
    return -masked_mean(torch.minimum(ratio_BN * advantage_BN, clipped_BN * advantage_BN), mask_BN)


def kl_exact(steps_BNSK: Tensor, reference_BNSK: Tensor, mask_BN: Tensor) -> Tensor:
    """KL(pi || pi_ref) in nats, closed form per step, summed over steps, mean over the measured prefixes, [B].

    Value and gradient are exactly 0 where both policies give the same numbers. The log-ratio is held constant for that.
    It would add sum_k p_k grad(log p_k) = grad(sum_k p_k), which is 0 but for rounding noise. Adam would amplify that
    noise.
    """
    available_BNSK = steps_BNSK.isfinite()
    log_ratio_BNSK = torch.where(available_BNSK, steps_BNSK.detach() - reference_BNSK, 0.0)
    kl_BN = (steps_BNSK.exp() * log_ratio_BNSK).sum((2, 3))
    return masked_mean(kl_BN, mask_BN)


def kl_k3(log_prob_BN: Tensor, reference_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """Schulman's k3 estimator exp(d) - d - 1 with d = log pi_ref - log pi, mean over the measured beams, [B].

    Deviation: beams were not drawn from pi. So this is a penalty on the measured beams, not an unbiased KL estimate.
    """
    difference_BN = reference_BN - log_prob_BN
    return masked_mean(difference_BN.exp() - difference_BN - 1, mask_BN)


def listwise_loss(log_prob_BN: Tensor, target_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """Cross-entropy between `target_BN` and the policy renormalised over the group's measured beams, [B]."""
    log_q_BN = log_prob_BN.masked_fill(~mask_BN, -torch.inf).log_softmax(1)
    return -(target_BN * log_q_BN.masked_fill(~mask_BN, 0.0)).sum(1)


def step_entropy(steps_BNSK: Tensor, mask_BN: Tensor) -> Tensor:
    """Entropy in nats of one pick, mean over steps and measured prefixes, [B]."""
    term_BNSK = steps_BNSK.exp() * steps_BNSK.masked_fill(~steps_BNSK.isfinite(), 0.0)
    return masked_mean(-term_BNSK.sum(3).mean(2), mask_BN)

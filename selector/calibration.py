"""The listwise loss after one temperature has been fitted to the policy.

GRPO sharpens a policy. The plain listwise loss punishes that. A policy that puts the right beams first, but is too
sure, scores worse than a vague one. What a selector is used for is its order, which no temperature changes. So one
temperature is fitted on the measured groups, as in the calibration of classifiers (Guo et al. 2017). What is left is
how well the policy distinguishes beams. The loss lies between 0 and that of a uniform policy.

Legend: B groups, N beams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selector.losses import listwise_loss

MAX_SCALE = 1e4
STEPS = 60  # halvings of [0, MAX_SCALE]: beyond the precision of a double


@dataclass(frozen=True)
class MeasuredGroups:
    """Groups of one batch, all [B, N]: log-probabilities of their beams, target distribution, mask of real beams."""

    log_prob_BN: Tensor
    target_BN: Tensor
    mask_BN: Tensor


def calibrated_listwise(batches: Sequence[MeasuredGroups]) -> float:
    """Lowest mean listwise loss of softmax(s log pi) over s >= 0, in nats. NaN without groups, or with NaN in them.

    The mean is convex in s. So its slope changes its sign once, and bisection finds that place. The slope is the mean
    of E_q[log pi] - E_target[log pi] over groups.
    """
    groups = [_in_double(batch) for batch in batches if len(batch.mask_BN)]
    if not groups or not all(bool(group.log_prob_BN.isfinite().all()) for group in groups):
        return math.nan
    low, high = 0.0, MAX_SCALE
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _slope(groups, middle) < 0:
            low = middle
        else:
            high = middle
    losses = [listwise_loss(group.log_prob_BN * low, group.target_BN, group.mask_BN) for group in groups]
    return float(torch.cat(losses).mean())


def _in_double(batch: MeasuredGroups) -> MeasuredGroups:
    """Padding gets log-probability 0. Adding a constant to a group changes nothing, so its highest is made 0."""
    log_prob_BN = batch.log_prob_BN.double().masked_fill(~batch.mask_BN, -math.inf)
    log_prob_BN = (log_prob_BN - log_prob_BN.amax(1, keepdim=True)).masked_fill(~batch.mask_BN, 0.0)
    return MeasuredGroups(log_prob_BN, batch.target_BN.double(), batch.mask_BN)


def _slope(groups: Sequence[MeasuredGroups], scale: float) -> float:
    total, count = 0.0, 0
    for group in groups:
        policy_BN = (group.log_prob_BN * scale).masked_fill(~group.mask_BN, -math.inf).softmax(1)
        total += float(((policy_BN - group.target_BN) * group.log_prob_BN).sum())
        count += len(group.mask_BN)
    return total / count

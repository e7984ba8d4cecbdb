"""Advantages: a beam's reward relative to its own group (Shao et al. 2024, DeepSeekMath, eq. 3).

Legend: B queries, N beams.

Deviations from the paper: the standard deviation has a floor. Groups of constant reward get exactly zero. Ranks are
offered as an alternative that does not depend on the reward's scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selector.settings import AdvantageMode

VARIANCE_TOLERANCE = 1e-6


def zero_variance(reward_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """Bool [B]: groups whose valid beams all have the same reward (within 1e-6)."""
    highest_B = reward_BN.masked_fill(~mask_BN, -torch.inf).amax(1)
    lowest_B = reward_BN.masked_fill(~mask_BN, torch.inf).amin(1)
    return (highest_B - lowest_B) <= VARIANCE_TOLERANCE


def group_mean_std(values_BN: Tensor, mask_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation over the valid beams, each [B, 1]."""
    count_B1 = mask_BN.sum(1, keepdim=True)
    mean_B1 = values_BN.masked_fill(~mask_BN, 0.0).sum(1, keepdim=True) / count_B1
    square_BN = (values_BN - mean_B1).square().masked_fill(~mask_BN, 0.0)
    return mean_B1, (square_BN.sum(1, keepdim=True) / count_B1).sqrt()


def group_advantages(reward_BN: Tensor, mask_BN: Tensor, mode: AdvantageMode, std_floor: float, clip: float) -> Tensor:
    """Advantages, float [B, N]. Zero at padding and in groups of constant reward.

    Args:
        reward_BN: rewards. Values at padding are ignored.
        mask_BN: bool, True where a beam exists. At least one per query.
        mode: `zscore` is (r - mean) / max(std, std_floor), `center` is r - mean. `rank` maps mid-ranks to [-1, 1].
        std_floor: > 0, in reward units.
        clip: > 0. The result lies in [-clip, clip].
    """
    mean_B1, std_B1 = group_mean_std(reward_BN, mask_BN)
    if mode is AdvantageMode.RANK:
        advantage_BN = _centred_ranks(reward_BN, mask_BN)
    elif mode is AdvantageMode.ZSCORE:
        advantage_BN = (reward_BN - mean_B1) / std_B1.clamp_min(std_floor)
    else:
        advantage_BN = reward_BN - mean_B1
    silent_BN = zero_variance(reward_BN, mask_BN)[:, None] | ~mask_BN
    return advantage_BN.clamp(-clip, clip).masked_fill(silent_BN, 0.0)


def _centred_ranks(reward_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """(beams below - beams above) / (count - 1): ties share their mean rank, the mean over a group is 0."""
    pair_BNN = mask_BN[:, :, None] & mask_BN[:, None, :]
    gap_BNN = reward_BN[:, :, None] - reward_BN[:, None, :]
    below_BN = ((gap_BNN > VARIANCE_TOLERANCE) & pair_BNN).sum(2)
    above_BN = ((gap_BNN < -VARIANCE_TOLERANCE) & pair_BNN).sum(2)
    spread_B1 = (mask_BN.sum(1, keepdim=True) - 1).clamp_min(1)
    return (below_BN - above_BN).to(reward_BN.dtype) / spread_B1


def keep_top_k(reward_BN: Tensor, mask_BN: Tensor, k: int) -> Tensor:
    """Mask of the k best valid beams by reward, bool [B, N]. Ties go to the earlier beam."""
    order_BN = reward_BN.masked_fill(~mask_BN, -torch.inf).sort(dim=1, descending=True, stable=True).indices
    rank_BN = order_BN.argsort(dim=1)
    return mask_BN & (rank_BN < k)

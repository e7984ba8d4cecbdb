"""How well a policy orders the measured beams of a group. No strictly increasing change of its scores changes that.

Two beams are compared at the first pick in which they differ. Up to there both have the same prefix, so both picks
compete for the same place, and the higher score is preferred. So the greedy selection is preferred to every other beam.
Probabilities of whole beams are not compared. A temperature changes their order, though not what is selected.

Legend: B queries, N beams, S picks, K candidates, Q queries of a split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selector.advantages import VARIANCE_TOLERANCE
from selector.arrays import Float32Array, Float64Array, Int64Array
from selector.batches import TensorData
from selector.data.dataset import Split
from selector.model import PointerSelector
from selector.rewards import compute_rewards
from selector.settings import ValidationSettings


@dataclass(frozen=True, eq=False)
class OrderResult:
    """One policy on the queries of a split, in their order.

    Attributes:
        preferred_Q: reward of the measured beam that the policy prefers. The mean over beams that it prefers equally.
        agreement_Q: share of the pairs of beams of different reward that the policy orders as their rewards do. Pairs
            that it does not order count half. NaN where all beams have one reward.
    """

    preferred_Q: Float64Array
    agreement_Q: Float64Array


@torch.no_grad()
def measure_order(
    model: PointerSelector | None, data: TensorData, validation: ValidationSettings, split: Split = Split.VAL
) -> OrderResult:
    """Measure a policy on a split, with dropout off.

    Args:
        model: on the device of the data. None orders nothing, as random selection does.
        data: all splits.
        validation: its reward and its batch size count.
        split: which queries.
    """
    rewards = compute_rewards(data.dataset.outcomes, validation.reward)
    preferred, agreement = [], []
    for batch in data.in_order(data.dataset.indices(split), validation.batch_size):
        ranks_BNS = torch.zeros_like(batch.beams_BNS)
        if model is not None:
            encoding = model.encode(batch.query_BD, batch.cand_BKD, batch.cand_mask_BK)
            ranks_BNS = pick_ranks(model.step_scores(encoding, batch.beams_BNS), batch.beams_BNS)
        groups = zip(ranks_BNS.cpu().numpy(), batch.beam_index_BN.cpu().numpy(), batch.beam_mask_BN.cpu(), strict=True)
        for ranks_NS, index_N, mask_N in groups:
            place_N, reward_N = places(ranks_NS[mask_N]), rewards[index_N[mask_N]]
            preferred.append(preferred_reward(place_N, reward_N))
            agreement.append(order_agreement(place_N, reward_N))
    return OrderResult(np.array(preferred, dtype=np.float64), np.array(agreement, dtype=np.float64))


def pick_ranks(scores_BNSK: Tensor, beams_BNS: Tensor) -> Tensor:
    """Candidates with a higher score than the pick, at every step, int64 [B, N, S]. 0 is the highest; ties share it."""
    return (scores_BNSK > scores_BNSK.gather(3, beams_BNS[:, :, :, None])).sum(3)


def places(ranks_NS: Int64Array) -> Int64Array:
    """Place of each beam of a group in the policy's order, [N]. 0 is preferred, and ties share a place."""
    return np.unique(ranks_NS, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def preferred_reward(place_N: Int64Array, reward_N: Float32Array) -> float:
    """Reward of the first beam, or the mean of those that share the first place."""
    return float(reward_N[place_N == 0].mean(dtype=np.float64))


def order_agreement(place_N: Int64Array, reward_N: Float32Array) -> float:
    """Share of pairs of different reward (beyond 1e-6) in which the better beam comes first. NaN without such a pair.

    It is the area under the ROC curve where rewards have two values, and 1/2 + (Goodman & Kruskal's gamma) / 2 where
    the policy has no ties.
    """
    reward_N = reward_N.astype(np.float64)
    better_NN = reward_N[:, None] - reward_N[None, :] > VARIANCE_TOLERANCE
    if not better_NN.any():
        return float("nan")
    first_NN = place_N[:, None] < place_N[None, :]
    tied_NN = place_N[:, None] == place_N[None, :]
    return float((first_NN[better_NN] + 0.5 * tied_NN[better_NN]).mean())

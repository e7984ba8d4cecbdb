"""The validation metric: what Optuna sees. Its settings are fixed for a run, so that trials with different
reward modes, temperatures or penalties are compared by one ruler.

Legend: B queries, N beams, S picks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selector.advantages import zero_variance
from selector.arrays import Int64Array
from selector.batches import TensorData
from selector.calibration import MeasuredGroups, calibrated_listwise
from selector.data.dataset import Split
from selector.errors import DataError
from selector.losses import beam_log_probs, listwise_loss, rce_loss, reward_weights, step_entropy
from selector.model import Encoding, PointerSelector
from selector.reports import WeightedMeans
from selector.rewards import compute_rewards
from selector.settings import ValidationMetric, ValidationSettings

NONE = -1


@dataclass(frozen=True)
class ValidationResult:
    """One selector on one split, with dropout off.

    Attributes:
        loss: the validation metric, nats. Mean over the groups it counts.
        reward: expected reward over the measured beams, mean over queries.
        entropy: entropy of one pick in nats, mean over queries.
        reward_Q: the expected reward of every query, double [Q].
        picks_QS: greedy selection of every query, int64 pool positions. NONE where its pool has no more candidates.
    """

    loss: float
    reward: float
    entropy: float
    reward_Q: Tensor
    picks_QS: Tensor

    def agreement(self, reference_QS: Tensor) -> tuple[float, float]:
        """Share of queries with the same first pick, and with the same whole sequence. Both in [0, 1]."""
        same_QS = self.picks_QS == reference_QS
        return float(same_QS[:, 0].double().mean()), float(same_QS.all(1).double().mean())


class Evaluator:
    """Measures a selector on one split, with dropout off.

    Attributes:
        queries: int64 [Q], those of the split.
        shots: picks of each greedy selection.
    """

    def __init__(
        self, data: TensorData, settings: ValidationSettings, split: Split = Split.VAL, shots: int | None = None
    ) -> None:
        """`shots` are as many as a beam of the data has where None is given."""
        self.shots = shots or data.dataset.picks
        self._data = data
        self._settings = settings
        self.queries: Int64Array = data.dataset.indices(split)
        self._rewards = torch.from_numpy(compute_rewards(data.dataset.outcomes, settings.reward)).to(data.device)
        if not len(self.queries):
            raise DataError(f"the {split.name.lower()} split is empty: raise data.split.{split.name.lower()}")
        # On the test split the listwise loss is one column among others: there it is NaN rather than an error.
        if split is Split.VAL and settings.metric is not ValidationMetric.RCE and not self._informative_groups():
            raise DataError(
                f"no {split.name.lower()} group has beams of different reward ({settings.reward.mode.value}): the "
                f"listwise metric is undefined; raise data.split.{split.name.lower()}, measure more beams, or set "
                "validation.metric to rce"
            )

    def _informative_groups(self) -> int:
        count = 0
        for batch in self._data.in_order(self.queries, self._settings.batch_size):
            reward_BN = self._rewards[batch.beam_index_BN]
            count += int((~zero_variance(reward_BN, batch.beam_mask_BN)).sum())
        return count

    @torch.no_grad()
    def __call__(self, model: PointerSelector) -> ValidationResult:
        """Loss, expected reward, entropy and greedy picks of the model."""
        means = WeightedMeans()
        picks, rewards = [], []
        groups: list[MeasuredGroups] = []
        for batch in self._data.in_order(self.queries, self._settings.batch_size):
            encoding = model.encode(batch.query_BD, batch.cand_BKD, batch.cand_mask_BK)
            steps_BNSK = model.step_log_probs(encoding, batch.beams_BNS)
            mask_BN = batch.beam_mask_BN
            log_prob_BN = beam_log_probs(steps_BNSK, batch.beams_BNS, mask_BN)
            reward_BN = self._rewards[batch.beam_index_BN]
            policy_BN = log_prob_BN.masked_fill(~mask_BN, -torch.inf).softmax(1)
            rewards.append((policy_BN * reward_BN).double().sum(1))
            means.add(len(reward_BN), entropy=step_entropy(steps_BNSK, mask_BN).mean())
            if self._settings.metric is ValidationMetric.LISTWISE_CALIBRATED:
                groups.append(self._groups(log_prob_BN, reward_BN, mask_BN))
            else:
                self._add_loss(means, steps_BNSK, batch.beams_BNS, mask_BN, log_prob_BN, reward_BN)
            picks.append(self._select(model, encoding))
        reward_Q = torch.cat(rewards).cpu()
        loss = calibrated_listwise(groups) if groups else means["loss"]
        return ValidationResult(loss, float(reward_Q.mean()), means["entropy"], reward_Q, torch.cat(picks).cpu())

    def _select(self, model: PointerSelector, encoding: Encoding) -> Tensor:
        """The greedy selection, [B, S]."""
        sizes_B1 = encoding.cand_mask_BK.sum(1, keepdim=True)
        exhausted_BS = torch.arange(self.shots, device=sizes_B1.device) >= sizes_B1
        return model.unroll(encoding, self.shots).masked_fill(exhausted_BS, NONE)

    def _groups(self, log_prob_BN: Tensor, reward_BN: Tensor, mask_BN: Tensor) -> MeasuredGroups:
        """The groups with contrast."""
        informative_B = ~zero_variance(reward_BN, mask_BN)
        target_BN = reward_weights(reward_BN, mask_BN, self._settings.tau, normalise=False, top1_only=False)
        return MeasuredGroups(log_prob_BN[informative_B], target_BN[informative_B], mask_BN[informative_B])

    def _add_loss(
        self,
        means: WeightedMeans,
        steps_BNSK: Tensor,
        beams_BNS: Tensor,
        mask_BN: Tensor,
        log_prob_BN: Tensor,
        reward_BN: Tensor,
    ) -> None:
        if self._settings.metric is ValidationMetric.RCE:
            weight_BN = reward_weights(reward_BN, mask_BN, 1.0, normalise=False, top1_only=False)
            means.add(len(reward_BN), loss=rce_loss(steps_BNSK, beams_BNS, mask_BN, weight_BN).mean())
            return
        informative_B = ~zero_variance(reward_BN, mask_BN)
        target_BN = reward_weights(reward_BN, mask_BN, self._settings.tau, normalise=False, top1_only=False)
        loss_B = listwise_loss(log_prob_BN, target_BN, mask_BN)
        count = informative_B.sum()
        means.add(count, loss=loss_B.masked_fill(~informative_B, 0.0).sum() / count.clamp_min(1))

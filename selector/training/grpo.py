"""Stage two: group-relative policy optimisation on the measured beams (Shao et al. 2024).

Invariants held here:
1. Before the first update the ratio is exactly 1 and the KL exactly 0. Policy, old policy and reference see the same
   batch under the same dropout masks. While weights are equal, log-probabilities are computed once for all of them.
2. The reference is the policy at the end of RCE. The old policy is a snapshot taken every `old_policy_refresh` epochs.
3. Padding changes nothing. Every statistic is masked. Every loss is a mean over a query's beams, then over queries.

Deviations from the paper: beams are measured offline rather than sampled from the old policy. The ratio is taken over
the whole sequence of picks. The KL is in closed form by default.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from selector.advantages import group_advantages, keep_top_k, zero_variance
from selector.arrays import BoolArray, Float32Array, Int64Array
from selector.batches import Batch, EpochNoise, TensorData
from selector.data.dataset import Dataset, Outcome
from selector.errors import DataError, SettingsError
from selector.losses import beam_log_probs, clipped_surrogate, kl_exact, kl_k3
from selector.model import Encoding, PointerSelector
from selector.reports import EpochReport, Stage
from selector.rewards import compute_rewards
from selector.settings import CurriculumFilter, CurriculumSettings, GrpoSettings, KlEstimator, TrialSettings
from selector.training.frozen import CandidateTable, FrozenPolicy, PoolRows, equal_weights
from selector.training.stage import EpochMeans, StageState, TrainingStage, copy_weights, new_selector, with_prefix
from selector.validation import Evaluator

# float32 ends at exp(88): without a limit a beam without advantage would give infinity times zero.
LARGEST_LOG_RATIO = 80.0
BACKBONE = ("input_proj", "query_proj", "cand_proj")


class GrpoStage(TrainingStage):
    """Policy optimisation from the given reference weights."""

    stage = Stage.GRPO

    def __init__(
        self, settings: TrialSettings, data: TensorData, evaluate: Evaluator, reference_weights: dict[str, Tensor]
    ) -> None:
        rewards = compute_rewards(data.dataset.outcomes, settings.reward)
        self._rewards = torch.from_numpy(rewards).to(data.device)
        self._curriculum = _first_phase(data.dataset, rewards, settings.grpo.curriculum)
        width = data.dataset.width
        model = new_selector(settings, width, reference_weights)
        if settings.grpo.freeze_backbone:
            if not settings.model.layers and data.dataset.picks == 1:
                raise SettingsError(
                    "grpo.freeze_backbone with model.layers 0 leaves only the gate to train, which beams of one pick "
                    "never use: set model.layers to 1 or more, or do not freeze"
                )
            for name in BACKBONE:
                model.get_submodule(name).requires_grad_(False)
        super().__init__(settings, data, evaluate, model, new_selector(settings, width, reference_weights))
        self.beta = 0.0 if settings.grpo.ppo_clip_only else settings.grpo.kl_beta
        self._rows = PoolRows(data, self.queries)
        self._reference = FrozenPolicy(self.reference, self._rows, self.epochs)
        self._old = self._reference
        self._candidates = CandidateTable(self.model, self._rows) if settings.grpo.freeze_backbone else None

    @property
    def options(self) -> GrpoSettings:
        """The `grpo` section."""
        return self.settings.grpo

    @property
    def epochs(self) -> int:
        """`grpo.epochs`. May be 0."""
        return self.settings.grpo.epochs

    def _epoch_queries(self, epoch: int) -> Int64Array:
        if epoch > self.options.curriculum.epochs:
            return self.queries
        kept = self.queries[self._curriculum[self.queries]]
        if not len(kept):
            raise DataError(
                f"grpo.curriculum.filter {self.options.curriculum.filter.value} keeps none of the {len(self.queries)} "
                "training queries: loosen it, or set grpo.curriculum.epochs to 0"
            )
        return kept

    def _begin_epoch(self) -> None:
        if (self.epoch - 1) % self.options.old_policy_refresh == 0 and self.epoch > 1:
            self._old = self._frozen(copy.deepcopy(self.model))

    def _update(self, batch: Batch, noise: EpochNoise, means: EpochMeans) -> Tensor:
        options = self.options
        reward_BN = self._rewards[batch.beam_index_BN]
        mask_BN = self._beam_mask(reward_BN, batch.beam_mask_BN)
        advantage_BN = group_advantages(
            reward_BN, mask_BN, options.advantage, options.advantage_std_floor, options.advantage_clip
        )
        dropout = noise.masks(batch)
        steps_BNSK = self._log_probs(batch, dropout)
        reference_BNSK = self._without_gradient(self._reference, steps_BNSK, batch, dropout)
        old_BNSK = reference_BNSK
        if self._old is not self._reference:
            old_BNSK = self._without_gradient(self._old, steps_BNSK, batch, dropout)
        log_prob_BN = beam_log_probs(steps_BNSK, batch.beams_BNS, mask_BN)
        log_ratio_BN = log_prob_BN - beam_log_probs(old_BNSK, batch.beams_BNS, mask_BN)
        ratio_BN = log_ratio_BN.clamp(max=LARGEST_LOG_RATIO).exp()
        low, high = options.clip_epsilon, options.clip_epsilon_high or options.clip_epsilon
        policy_B = clipped_surrogate(ratio_BN, advantage_BN, mask_BN, low, high)
        with torch.set_grad_enabled(self.beta > 0):
            if options.kl_estimator is KlEstimator.EXACT:
                kl_B = kl_exact(steps_BNSK, reference_BNSK, mask_BN)
            else:
                kl_B = kl_k3(log_prob_BN, beam_log_probs(reference_BNSK, batch.beams_BNS, mask_BN), mask_BN)
        means.per_query.add(
            len(mask_BN),
            policy_loss=policy_B.mean(),
            kl=kl_B.mean(),
            zero_variance=zero_variance(reward_BN, mask_BN).double().mean(),
        )
        _record_beams(means, ratio_BN, advantage_BN, mask_BN, low, high)
        return (policy_B + self.beta * kl_B).mean() if self.beta > 0 else policy_B.mean()

    def _log_probs(self, batch: Batch, dropout_BXH: Tensor | None) -> Tensor:
        """Of the policy. With a frozen backbone its projections of the candidates are kept."""
        model = self.model
        if self._candidates is None:
            encoding = model.encode(batch.query_BD, batch.cand_BKD, batch.cand_mask_BK, dropout_BXH)
        else:
            start = model.attend(batch.query_BD, batch.cand_BKD, batch.cand_mask_BK)
            query_BH = model.finish(start, batch.cand_BKD, batch.cand_mask_BK, dropout_BXH)
            encoding = Encoding(query_BH, self._candidates(batch), batch.cand_mask_BK)
        return model.step_log_probs(encoding, batch.beams_BNS)

    def _without_gradient(
        self, frozen: FrozenPolicy, steps_BNSK: Tensor, batch: Batch, dropout_BXH: Tensor | None
    ) -> Tensor:
        """Log-probabilities of a frozen policy: those of the policy itself while their weights are equal.

        What is kept was computed in other shapes, which may change a last bit. Invariant 1 is exact all the same.
        """
        if equal_weights(self.model, frozen.model):
            return steps_BNSK.detach()
        return frozen.log_probs(batch, dropout_BXH)

    def _frozen(self, model: PointerSelector) -> FrozenPolicy:
        """An old policy, which is asked until the next one is taken."""
        return FrozenPolicy(model.requires_grad_(False), self._rows, self.options.old_policy_refresh)

    def _beam_mask(self, reward_BN: Tensor, mask_BN: Tensor) -> Tensor:
        top_k = self.options.top_k
        if not top_k.enabled:
            return mask_BN
        return keep_top_k(reward_BN, mask_BN, top_k.early_k if self.epoch <= top_k.early_epochs else top_k.late_k)

    def _stage_numbers(self, means: EpochMeans) -> dict[str, float | None]:
        policy_loss, kl = means.per_query["policy_loss"], means.per_query["kl"]
        penalty = abs(self.beta * kl)
        total = abs(policy_loss) + penalty
        mean = means.per_beam["advantage"]
        return {
            "policy_loss": policy_loss,
            "kl": kl,
            "kl_share": penalty / total if total > 0 else 0.0,
            "ratio_mean": means.per_beam["ratio"],
            "ratio_min": -float(means.highest["negative_ratio"]),
            "ratio_max": float(means.highest["ratio"]),
            "clip_fraction": means.per_beam["clipped"],
            "advantage_mean": mean,
            "advantage_std": max(means.per_beam["advantage_square"] - mean**2, 0.0) ** 0.5,
            "advantage_max": float(means.highest["advantage"]),
            "beta": self.beta,
        }

    def _after_epoch(self, report: EpochReport) -> None:
        # A kl_beta that starts outside of [minimum, maximum] stays there rather than jump against its direction.
        adaptive = self.options.adaptive_beta
        if not adaptive.enabled or self.beta == 0 or report.kl is None:
            return
        if report.kl > adaptive.target_high:
            self.beta = min(self.beta * adaptive.factor, max(self.beta, adaptive.maximum))
        elif report.kl < adaptive.target_low:
            self.beta = max(self.beta / adaptive.factor, min(self.beta, adaptive.minimum))

    def _extra_state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        numbers = {"beta": self.beta}
        refreshed_next = self.epoch % self.options.old_policy_refresh == 0
        if refreshed_next or self._old is self._reference:
            return {}, numbers
        return with_prefix("old", copy_weights(self._old.model)), numbers

    def _load_extra_state(self, state: StageState) -> None:
        self.beta = state.numbers["beta"]
        old = state.section("old")
        self._old = self._reference
        if old:
            self._old = self._frozen(new_selector(self.settings, self.data.dataset.width, old).to(self.data.device))
        if self._candidates is not None:
            self._candidates = CandidateTable(self.model, self._rows)


def _record_beams(
    means: EpochMeans, ratio_BN: Tensor, advantage_BN: Tensor, mask_BN: Tensor, low: float, high: float
) -> None:
    ratio, advantage = ratio_BN.detach()[mask_BN], advantage_BN[mask_BN]
    # A beam is clipped where the minimum takes the clipped branch, which has no gradient.
    clipped = ((ratio > 1 + high) & (advantage > 0)) | ((ratio < 1 - low) & (advantage < 0))
    means.per_beam.add(
        mask_BN.sum(),
        ratio=ratio.double().mean(),
        clipped=clipped.double().mean(),
        advantage=advantage.double().mean(),
        advantage_square=advantage.double().square().mean(),
    )
    means.add_highest(ratio=ratio.max(), negative_ratio=(-ratio).max(), advantage=advantage.abs().max())


def _first_phase(dataset: Dataset, rewards: Float32Array, curriculum: CurriculumSettings) -> BoolArray:
    """Bool [Q]: queries that the curriculum's first phase keeps. A positive is `vqa_correct`, else reward above 0."""
    correct = dataset.outcomes.get(Outcome.CORRECT)
    positive = (correct > 0.5) if correct is not None else (rewards > 0)
    starts = dataset.beam_starts[:-1]
    positives = np.add.reduceat(positive.astype(np.int64), starts)
    if curriculum.filter is CurriculumFilter.HAS_POSITIVE:
        return positives > 0
    negatives = np.diff(dataset.beam_starts) - positives
    gap = np.maximum.reduceat(rewards, starts) - np.minimum.reduceat(rewards, starts)
    enough = (positives >= curriculum.min_positives) & (negatives >= curriculum.min_negatives)
    return (gap >= curriculum.min_gap) & enough

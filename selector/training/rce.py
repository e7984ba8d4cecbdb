"""Stage one: reward-weighted cross-entropy on the measured beams."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selector.advantages import zero_variance
from selector.batches import Batch, EpochNoise, TensorData
from selector.losses import rce_loss, reward_weights
from selector.reports import EpochReport, Stage
from selector.rewards import compute_rewards
from selector.settings import Keep, RceRewards, RceSettings, TrialSettings
from selector.training.stage import EpochMeans, StageState, TrainingStage, copy_weights, new_selector, with_prefix
from selector.validation import Evaluator


class RceStage(TrainingStage):
    """Warm-up from the seed's initialisation, or from the weights `init`, which the model and the reference then have.

    `reference_weights()` is what GRPO starts from and is held to: without an epoch of RCE, `init` itself.
    """

    stage = Stage.RCE

    def __init__(
        self, settings: TrialSettings, data: TensorData, evaluate: Evaluator, init: dict[str, Tensor] | None = None
    ) -> None:
        model, reference = (new_selector(settings, data.dataset.width, init) for _ in range(2))
        super().__init__(settings, data, evaluate, model, reference)
        rewards = compute_rewards(data.dataset.outcomes, settings.rce_reward)
        self._rewards = torch.from_numpy(rewards).to(data.device)
        self._best: dict[str, Tensor] = {}
        self._best_loss = math.inf

    @property
    def options(self) -> RceSettings:
        """The `rce` section."""
        return self.settings.rce

    @property
    def epochs(self) -> int:
        """`rce.epochs`. May be 0."""
        return self.settings.rce.epochs

    @property
    def tau(self) -> float:
        """Temperature of the current epoch: linear from tau_start (first) to tau_end (last)."""
        done = (self.epoch - 1) / max(self.epochs - 1, 1)
        return self.options.tau_start + (self.options.tau_end - self.options.tau_start) * done

    def _update(self, batch: Batch, noise: EpochNoise, means: EpochMeans) -> Tensor:
        reward_BN = self._rewards[batch.beam_index_BN]
        mask_BN = batch.beam_mask_BN
        encoding = self.model.encode(batch.query_BD, batch.cand_BKD, batch.cand_mask_BK, noise.masks(batch))
        steps_BNSK = self.model.step_log_probs(encoding, batch.beams_BNS)
        normalise = self.options.rewards is RceRewards.GROUP_NORMALISED
        weight_BN = reward_weights(
            reward_BN, mask_BN, self.tau, normalise, self.options.top1_only, self.options.reward_clip
        )
        means.per_query.add(len(reward_BN), zero_variance=zero_variance(reward_BN, mask_BN).double().mean())
        return rce_loss(steps_BNSK, batch.beams_BNS, mask_BN, weight_BN, self.options.label_smoothing).mean()

    def _stage_numbers(self, means: EpochMeans) -> dict[str, float | None]:
        return {"tau": self.tau}

    def _after_epoch(self, report: EpochReport) -> None:
        if self.options.keep is Keep.BEST and report.val_loss < self._best_loss:
            self._best_loss = report.val_loss
            self._best = copy_weights(self.model)

    def reference_weights(self) -> dict[str, Tensor]:
        """The policy that GRPO starts from: the last epoch, or the best by validation if `rce.keep` says so."""
        return self._best or copy_weights(self.model)

    def _extra_state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        if not self._best:
            return {}, {}
        return with_prefix("best", self._best), {"best_loss": self._best_loss}

    def _load_extra_state(self, state: StageState) -> None:
        self._best = state.section("best")
        self._best_loss = state.numbers.get("best_loss", math.inf)

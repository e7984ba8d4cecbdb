"""Every setting of a trial and of its measurement, as frozen models that refuse unknown keys.

A search space addresses the fields of `TrialSettings` by dotted path (`grpo.kl_beta`). `ValidationSettings` and
`HealthSettings` stand outside of it on purpose: what compares trials must not depend on what is sampled.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class FrozenModel(BaseModel):
    """Base of settings and of stored records: frozen, unknown keys refused, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def replace(self, **values: Any) -> Self:  # noqa: ANN401 (whatever the fields hold)
        """A copy with other values for some fields, validated as a whole. Fields that were not given stay so.

        Raises:
            pydantic.ValidationError: a value that the model refuses.
        """
        return self.model_validate({name: getattr(self, name) for name in self.model_fields_set} | values)


class Decoder(StrEnum):
    """How the query state moves after each pick."""

    STATIC = "static"
    GATE = "gate"


class RewardMode(StrEnum):
    """How measured outcomes become one number (formulas: `selector.rewards`)."""

    HARD_PLUS_SOFT = "hard_plus_soft"
    HARD_PLUS_SOFT_V2 = "hard_plus_soft_v2"
    SEPARATED = "separated"
    HARD_ONLY = "hard_only"
    SOFT_ONLY = "soft_only"
    HARD01_PLUS_GTPROB = "hard01_plus_gtprob"
    HARD01_PLUS_GTPROB_SEPARATED = "hard01_plus_gtprob_separated"
    HARD_PLUS_GTPROB_PLUS_REL = "hard_plus_gtprob_plus_rel"
    LEGACY = "legacy"


class Correctness(StrEnum):
    """Value range of the correctness term of the `legacy` reward."""

    ZERO_ONE = "zero_one"
    PLUS_MINUS_ONE = "plus_minus_one"


class RceRewards(StrEnum):
    """Rewards inside the RCE softmax: as they are, or z-scored within their group."""

    RAW = "raw"
    GROUP_NORMALISED = "group_normalised"


class Keep(StrEnum):
    """Which RCE epoch becomes the reference policy."""

    LAST = "last"
    BEST = "best"


class Schedule(StrEnum):
    """Learning rate over a stage, after the warm-up."""

    CONSTANT = "constant"
    COSINE = "cosine"


class AdvantageMode(StrEnum):
    """Reward relative to its group (formulas: `selector.advantages`)."""

    ZSCORE = "zscore"
    CENTER = "center"
    RANK = "rank"


class KlEstimator(StrEnum):
    """`exact`: closed form per step along the measured prefixes. `k3`: Schulman's estimator on the measured beams."""

    EXACT = "exact"
    K3 = "k3"


class CurriculumFilter(StrEnum):
    """Which training queries the first phase of GRPO keeps."""

    HAS_POSITIVE = "has_positive"
    CONTRAST = "contrast"


class ValidationMetric(StrEnum):
    """What Optuna minimises."""

    LISTWISE = "listwise"
    LISTWISE_CALIBRATED = "listwise_calibrated"  # the same after fitting one temperature (`selector.calibration`)
    RCE = "rce"


class ModelSettings(FrozenModel):
    """Architecture of the selector. The input width comes from the data.

    Attributes:
        hidden: width of the hidden state.
        layers: cross-attention blocks between the query and its candidates.
        heads: attention heads of each block. They divide `hidden`.
        temperature: cosine similarities are divided by it.
        dropout: share of the activations that training drops.
    """

    hidden: PositiveInt = 256
    layers: NonNegativeInt = 1
    heads: PositiveInt = 4
    decoder: Decoder = Decoder.STATIC
    temperature: PositiveFloat = 0.1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _heads_divide_hidden(self) -> ModelSettings:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        return self


class RewardSettings(FrozenModel):
    """Reward mode and its weights.

    Attributes:
        hard_weight: weight of a correct answer (`vqa_correct`).
        soft_weight: weight of the VQA accuracy, or of the ground truth's probability in the modes that name it.
        rel_weight: weight of the relevance (`vqa_rel_score`).
        alpha: weight of the quality (beam score) in the mode `legacy`.
        beta: weight of the correctness in the mode `legacy`.
    """

    mode: RewardMode = RewardMode.HARD_PLUS_SOFT
    hard_weight: float = 1.0
    soft_weight: float = 1.0
    rel_weight: float = 0.1
    alpha: float = 1.0
    beta: float = 1.0
    correctness: Correctness = Correctness.ZERO_ONE


class OptimizerSettings(FrozenModel):
    """AdamW and its schedule. Both stages have one.

    Attributes:
        lr: learning rate after its warm-up.
        weight_decay: pull of the weights towards 0, as AdamW applies it.
        batch_size: queries per update.
        warmup_fraction: share of the stage's updates over which the learning rate rises to `lr`.
        grad_clip: largest norm of the gradient; null: any.
    """

    lr: NonNegativeFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.01
    batch_size: PositiveInt = 32
    schedule: Schedule = Schedule.CONSTANT
    warmup_fraction: Fraction = 0.0
    grad_clip: PositiveFloat | None = 1.0


class RceSettings(OptimizerSettings):
    """Reward-weighted cross-entropy warm-up.

    Attributes:
        epochs: passes over the training queries; 0 leaves the warm-up out.
        tau_start: temperature of the softmax over rewards in the first epoch. It moves linearly.
        tau_end: the same in the last epoch.
        top1_only: imitate only the best beam of each group.
        label_smoothing: share of the target that is spread over all candidates.
    """

    epochs: NonNegativeInt = 5
    lr: NonNegativeFloat = 1e-4
    tau_start: PositiveFloat = 1.0
    tau_end: PositiveFloat = 0.5
    rewards: RceRewards = RceRewards.RAW
    reward_clip: PositiveFloat | None = Field(
        default=None,
        description="group_normalised rewards are clamped to this many standard deviations on both sides; null: never.",
    )
    top1_only: bool = False
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    keep: Keep = Keep.LAST
    reward: RewardSettings | None = Field(
        default=None, description="Reward of the warm-up alone; null takes the trial's own `reward` section."
    )


class AdaptiveBetaSettings(FrozenModel):
    """After an epoch with KL outside [target_low, target_high], beta is multiplied or divided by `factor`.

    Attributes:
        enabled: whether beta is adapted at all.
        target_low: KL (nats) below which beta becomes smaller.
        target_high: KL (nats) above which beta becomes larger.
        factor: by which beta changes after an epoch.
        minimum: beta is not lowered below this.
        maximum: beta is not raised above this.
    """

    enabled: bool = False
    target_low: NonNegativeFloat = 0.01
    target_high: PositiveFloat = 0.1
    factor: Annotated[float, Field(gt=1)] = 1.5
    minimum: NonNegativeFloat = 1e-4
    maximum: PositiveFloat = 10.0

    @model_validator(mode="after")
    def _ordered(self) -> AdaptiveBetaSettings:
        if self.target_low > self.target_high:
            raise ValueError(f"target_low {self.target_low} is above target_high {self.target_high}")
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class TopKSettings(FrozenModel):
    """Keep only the k best beams of a group by reward. Collapses the advantage. Off by default.

    Attributes:
        enabled: whether beams are left out at all.
        early_k: beams kept in the first `early_epochs` epochs.
        late_k: beams kept after them.
        early_epochs: epochs with `early_k`.
    """

    enabled: bool = False
    early_k: Annotated[int, Field(ge=2)] = 5
    late_k: Annotated[int, Field(ge=2)] = 10
    early_epochs: NonNegativeInt = 1


class CurriculumSettings(FrozenModel):
    """For the first `epochs` GRPO epochs train only on the queries that `filter` keeps, then on all.

    Attributes:
        epochs: first epochs of GRPO that see the filtered queries only; 0: none.
        min_gap: for `contrast`: difference between the highest and the lowest reward of a group.
        min_positives: for `contrast`: beams with a correct answer.
        min_negatives: for `contrast`: beams with a wrong answer.
    """

    epochs: NonNegativeInt = 0
    filter: CurriculumFilter = CurriculumFilter.HAS_POSITIVE
    min_gap: NonNegativeFloat = 0.5
    min_positives: NonNegativeInt = 1
    min_negatives: NonNegativeInt = 1


class GrpoSettings(OptimizerSettings):
    """Group-relative policy optimisation.

    Attributes:
        epochs: passes over the training queries; 0 trains with RCE alone.
        kl_beta: weight of the KL to the reference policy in the loss.
        clip_epsilon: how far the ratio of new to old probability may move from 1 before it is clipped.
        advantage_std_floor: the standard deviation in `zscore` is taken as at least this.
        advantage_clip: advantages are clipped to plus and minus this.
    """

    epochs: NonNegativeInt = 10
    lr: NonNegativeFloat = 5e-5
    weight_decay: NonNegativeFloat = Field(
        default=0.0, description="Pulls the policy away from its reference even where there is no signal."
    )
    kl_beta: NonNegativeFloat = 0.1
    kl_estimator: KlEstimator = KlEstimator.EXACT
    clip_epsilon: PositiveFloat = 0.2
    clip_epsilon_high: PositiveFloat | None = Field(
        default=None, description="Upper clip range; null takes clip_epsilon on both sides."
    )
    ppo_clip_only: bool = Field(default=False, description="No KL term at all, whatever kl_beta says.")
    advantage: AdvantageMode = AdvantageMode.ZSCORE
    advantage_std_floor: PositiveFloat = 1e-4
    advantage_clip: PositiveFloat = 5.0
    old_policy_refresh: PositiveInt = Field(default=1, description="Epochs between two snapshots of the old policy.")
    freeze_backbone: bool = Field(default=False, description="Freeze input_proj, query_proj and cand_proj.")
    adaptive_beta: AdaptiveBetaSettings = AdaptiveBetaSettings()
    top_k: TopKSettings = TopKSettings()
    curriculum: CurriculumSettings = CurriculumSettings()

    @model_validator(mode="after")
    def _lower_clip_keeps_ratio_positive(self) -> GrpoSettings:
        if self.clip_epsilon >= 1:
            raise ValueError(f"clip_epsilon {self.clip_epsilon} must be below 1 (the ratio is positive)")
        return self


class TrialSettings(FrozenModel):
    """All that can be sampled: one value of this class is one configuration.

    Attributes:
        seed: decides initial weights, order of the batches and dropout. Where a space does not set it, its own `seed`
            counts.
    """

    model: ModelSettings = ModelSettings()
    reward: RewardSettings = RewardSettings()
    rce: RceSettings = RceSettings()
    grpo: GrpoSettings = GrpoSettings()
    train_queries: PositiveInt | Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Training queries: how many, or which share of them (1.0: all, 1: one); null: all. Fewer are a "
        "part of more, by the trial's seed.",
    )
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _something_to_train(self) -> TrialSettings:
        if self.rce.epochs + self.grpo.epochs == 0:
            raise ValueError("rce.epochs and grpo.epochs are both 0: nothing would be trained")
        if self.grpo.freeze_backbone and self.model.layers == 0 and self.model.decoder is Decoder.STATIC:
            raise ValueError("grpo.freeze_backbone leaves no parameter to train with model.layers 0 and decoder static")
        return self

    @property
    def rce_reward(self) -> RewardSettings:
        """The reward of the RCE stage."""
        return self.rce.reward or self.reward

    @property
    def total_epochs(self) -> int:
        """Epochs of both stages: the number of steps the trial reports."""
        return self.rce.epochs + self.grpo.epochs

    def rce_key(self) -> dict[str, Any]:
        """All that determines the RCE stage besides data and validation: equal keys share one artifact.

        `reward_clip` is a part only where it acts, so that warm-ups stored before it came keep their names.
        """
        clips = self.rce.rewards is RceRewards.GROUP_NORMALISED and self.rce.reward_clip is not None
        without = {"reward"} if clips else {"reward", "reward_clip"}
        return {
            "model": self.model.model_dump(mode="json"),
            "reward": self.rce_reward.model_dump(mode="json"),
            "rce": self.rce.model_dump(mode="json", exclude=without),
            "seed": self.seed,
            **({} if self.train_queries is None else {"train_queries": self.train_queries}),
        }


class ValidationSettings(FrozenModel):
    """How trials are compared. Fixed for a run: never sampled, the same for every trial.

    Attributes:
        tau: temperature of the softmax over rewards.
        batch_size: queries computed at once. Changes no number.
    """

    metric: ValidationMetric = ValidationMetric.LISTWISE_CALIBRATED
    tau: PositiveFloat = 0.25
    reward: RewardSettings = RewardSettings(mode=RewardMode.HARD_PLUS_SOFT)
    batch_size: PositiveInt = 128


class HealthSettings(FrozenModel):
    """Thresholds of the verdicts in `selector.health`."""

    no_op_agreement: Fraction = Field(
        default=1.0,
        description="no_op: share of validation queries whose whole selection equals the reference's. It has as many "
        "picks as the evaluation shows demonstrations; without an evaluation, as many as a beam of the data.",
    )
    kl_share: Fraction = Field(
        default=0.9,
        description="kl_dominated: KL share of the loss above this. The policy term is taken against the old "
        "policy and starts near zero after each refresh, so the share grows over a healthy trial as well.",
    )
    advantage_std: NonNegativeFloat = Field(default=0.05, description="dead_signal: advantage std below this.")
    zero_variance_share: Fraction = Field(default=0.98, description="dead_signal: or this share of groups constant.")
    max_kl: PositiveFloat = Field(default=50.0, description="diverged: KL above this.")
    max_loss: PositiveFloat = Field(default=1e4, description="diverged: absolute training loss above this.")
    max_grad_norm: PositiveFloat = Field(default=1e6, description="diverged: gradient norm above this.")
    patience: PositiveInt = Field(default=2, description="Epochs in a row before a verdict in prune_on stops a trial.")
    prune_on: tuple[str, ...] = Field(default=(), description="Verdicts that prune: no_op, kl_dominated, dead_signal.")

    @model_validator(mode="after")
    def _known_verdicts(self) -> HealthSettings:
        known = ("no_op", "kl_dominated", "dead_signal")
        for name in self.prune_on:
            if name not in known:
                raise ValueError(f"prune_on: unknown verdict {name!r}; known are {', '.join(known)}")
        return self

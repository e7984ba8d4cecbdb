"""Which sampler and which pruner a space names, and their settings. They are built in `sweep.study`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from selector.settings import Fraction, FrozenModel, NonNegativeFloat, NonNegativeInt, PositiveInt

Resource = PositiveInt | Literal["auto"]
ReductionFactor = Annotated[int, Field(ge=2)]


class PruningStarts(StrEnum):
    """Which epochs a pruner sees and counts, from 1: those of GRPO only, or all of them."""

    AFTER_RCE = "after_rce"
    AT_ONCE = "at_once"


class TpeSettings(FrozenModel):
    """Tree-structured Parzen estimator. Learns from complete and pruned trials. `group` handles conditions.

    Attributes:
        n_ei_candidates: points that are compared for each proposal.
        multivariate: model parameters together rather than one by one.
        group: split parameters into groups by the conditions that they appear under.
    """

    type: Literal["tpe"] = "tpe"
    n_startup_trials: NonNegativeInt = Field(default=10, description="Finished trials before it stops being random.")
    n_ei_candidates: PositiveInt = 24
    multivariate: bool = True
    group: bool = True
    constant_liar: bool = Field(default=True, description="Count running trials as bad ones: spreads parallel trials.")

    @model_validator(mode="after")
    def _group_is_multivariate(self) -> TpeSettings:
        if self.group and not self.multivariate:
            raise ValueError("group: true needs multivariate: true; set group: false as well")
        return self


class GpSettings(FrozenModel):
    """Gaussian process. Learns from complete trials only. Conditional parameters are sampled at random."""

    type: Literal["gp"] = "gp"
    n_startup_trials: NonNegativeInt = Field(default=10, description="Complete trials before it stops being random.")
    deterministic_objective: bool = Field(default=False, description="Assume that a repetition gives the same value.")


class CmaEsSettings(FrozenModel):
    """CMA-ES. Learns from complete trials. Categorical and conditional parameters are sampled at random."""

    type: Literal["cmaes"] = "cmaes"
    n_startup_trials: PositiveInt = Field(default=1, description="Complete trials before it stops being random.")
    population: Annotated[int, Field(ge=4)] | None = Field(default=None, description="Null: 4 + 3 ln(dimensions).")
    with_margin: bool = Field(default=False, description="Keeps integer and stepped parameters from getting stuck.")
    lr_adapt: bool = Field(default=False, description="Learning-rate adaptation, for noisy objectives.")

    @model_validator(mode="after")
    def _one_variant(self) -> CmaEsSettings:
        if self.with_margin and self.lr_adapt:
            raise ValueError("with_margin and lr_adapt exclude each other; choose one")
        return self


class QmcSettings(FrozenModel):
    """A low-discrepancy sequence: covers the space evenly and learns nothing.

    Attributes:
        sequence: `sobol` or `halton`.
        scramble: randomise the sequence by the space's seed.
    """

    type: Literal["qmc"] = "qmc"
    sequence: Literal["sobol", "halton"] = "sobol"
    scramble: bool = True


class RandomSettings(FrozenModel):
    """Independent random draws."""

    type: Literal["random"] = "random"


class GridSettings(FrozenModel):
    """Every combination once, in a shuffled order, then the sweep ends. All parameters must be discrete."""

    type: Literal["grid"] = "grid"


SamplerSettings = Annotated[
    TpeSettings | GpSettings | CmaEsSettings | QmcSettings | RandomSettings | GridSettings, Field(discriminator="type")
]


class _Paced(FrozenModel):
    n_warmup_steps: NonNegativeInt = Field(default=0, description="No pruning before this many of the counted epochs.")
    interval_steps: PositiveInt = Field(default=1, description="Decide only every so many epochs.")


class MedianSettings(_Paced):
    """Prune when the best value so far is worse than the median of the complete trials at the same epoch.

    Attributes:
        n_min_trials: trials with a value at an epoch before it prunes there.
    """

    type: Literal["median"] = "median"
    n_startup_trials: NonNegativeInt = Field(default=5, description="Complete trials before it prunes.")
    n_min_trials: PositiveInt = 1


class PercentileSettings(_Paced):
    """As `median`, with the given percentile: 25 keeps the best quarter.

    Attributes:
        percentile: how many of the trials are kept, in percent.
        n_min_trials: trials with a value at an epoch before it prunes there.
    """

    type: Literal["percentile"] = "percentile"
    percentile: Annotated[float, Field(ge=0, le=100)] = 25.0
    n_startup_trials: NonNegativeInt = Field(default=5, description="Complete trials before it prunes.")
    n_min_trials: PositiveInt = 1


class SuccessiveHalvingSettings(FrozenModel):
    """Asynchronous successive halving (ASHA): at each rung the best 1 / reduction_factor go on.

    Attributes:
        reduction_factor: one in so many goes on at each rung.
        min_early_stopping_rate: rungs left out at the beginning.
        bootstrap_count: trials at a rung before anything is decided there.
    """

    type: Literal["successive_halving"] = "successive_halving"
    min_resource: Resource = Field(default="auto", description="First rung, in counted epochs.")
    reduction_factor: ReductionFactor = 4
    min_early_stopping_rate: NonNegativeInt = 0
    bootstrap_count: NonNegativeInt = 0


class HyperbandSettings(FrozenModel):
    """Several successive halvings side by side with different first rungs. A trial's number chooses its bracket.

    Attributes:
        reduction_factor: one in so many goes on at each rung.
        bootstrap_count: trials at a rung before anything is decided there.
    """

    type: Literal["hyperband"] = "hyperband"
    min_resource: Resource = Field(default="auto", description="First rung of the most eager bracket, in epochs.")
    max_resource: Resource = Field(default="auto", description="Auto: the most counted epochs a trial can have.")
    reduction_factor: ReductionFactor = 3
    bootstrap_count: NonNegativeInt = 0


class ThresholdSettings(_Paced):
    """Prune when a value leaves [lower, upper].

    Attributes:
        lower: prune below this; null: no limit.
        upper: prune above this; null: no limit.
    """

    type: Literal["threshold"] = "threshold"
    lower: float | None = None
    upper: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> ThresholdSettings:
        if self.lower is None and self.upper is None:
            raise ValueError("neither lower nor upper is given; give at least one")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower {self.lower} is above upper {self.upper}; swap them")
        return self


class WilcoxonSettings(FrozenModel):
    """Prune when the learning curve is significantly worse than the best trial's, epoch by epoch.

    It is a heuristic here. The signed-rank test wants independent instances, and the epochs of one curve are not.

    Attributes:
        p_threshold: a trial is pruned where the p of the test is below this.
        n_startup_steps: epochs before the first test.
    """

    type: Literal["wilcoxon"] = "wilcoxon"
    p_threshold: Fraction = 0.1
    n_startup_steps: NonNegativeInt = 2


class NoPruning(FrozenModel):
    """Every trial runs to its end, unless it diverges."""

    type: Literal["none"] = "none"


WrappedPruner = Annotated[
    MedianSettings
    | PercentileSettings
    | SuccessiveHalvingSettings
    | HyperbandSettings
    | ThresholdSettings
    | WilcoxonSettings,
    Field(discriminator="type"),
]


class PatientSettings(FrozenModel):
    """Asks the wrapped pruner only after `patience` epochs without improvement. Without one it prunes by itself.

    Attributes:
        patience: epochs without improvement.
        min_delta: a smaller change is no improvement.
        wrapped: the pruner that is asked then; null: prune at once.
    """

    type: Literal["patient"] = "patient"
    patience: NonNegativeInt = 2
    min_delta: NonNegativeFloat = 0.0
    wrapped: WrappedPruner | None = None


PrunerSettings = Annotated[
    MedianSettings
    | PercentileSettings
    | SuccessiveHalvingSettings
    | HyperbandSettings
    | ThresholdSettings
    | WilcoxonSettings
    | PatientSettings
    | NoPruning,
    Field(discriminator="type"),
]

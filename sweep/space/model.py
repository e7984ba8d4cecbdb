"""The search space: what a sweep varies, what it keeps fixed, how it samples, prunes and ends. Parsed once, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from optuna.distributions import BaseDistribution
from pydantic import Field, ValidationError, field_validator, model_validator

from selector.data.settings import DataSettings
from selector.settings import (
    FrozenModel,
    HealthSettings,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TrialSettings,
    ValidationSettings,
)
from sweep.errors import SpaceError
from sweep.settings.collect import CollectSettings
from sweep.settings.embed import EmbedSettings
from sweep.settings.evaluation import EvaluationSettings
from sweep.settings.items import ItemsSettings
from sweep.settings.labels import SELECTOR, Labels
from sweep.settings.loggers import LoggersSettings
from sweep.settings.notify import NotifySettings
from sweep.settings.resources import Cpus, Gpus
from sweep.settings.vlm import VlmSettings
from sweep.space import fields
from sweep.space.addresses import Scalar, addresses, flatten, refusal, with_values
from sweep.space.algorithms import MedianSettings, PrunerSettings, PruningStarts, SamplerSettings, TpeSettings
from sweep.space.conditions import decision_order, holds
from sweep.space.parameters import FixedParameter, Parameter


class Budget(FrozenModel):
    """When the sweep ends: at the first limit that is reached. At least one is set."""

    trials: PositiveInt | None = Field(default=None, description="Trials in all, failed ones and repeats counted.")
    hours: PositiveFloat | None = Field(default=None, description="No new trial later than this after the first start.")
    trials_without_improvement: PositiveInt | None = Field(
        default=None, description="Trials finished in a row without a better validation loss."
    )

    @model_validator(mode="after")
    def _limited(self) -> Budget:
        if self.trials is None and self.hours is None and self.trials_without_improvement is None:
            raise ValueError("nothing ends the sweep; set trials, hours or trials_without_improvement")
        return self


class Resources(FrozenModel):
    """What one trial occupies.

    Attributes:
        cpus: cores of one trial.
    """

    cpus: Cpus = 1.0
    gpus: Gpus = Field(default=0.0, description="A fraction shares a GPU; above 1 it must be whole.")
    labels: Labels = Field(default={}, description=SELECTOR)


class PriorTrial(FrozenModel):
    """A complete trial of an earlier run, from which the sampler learns.

    Attributes:
        params: a value for each sampled parameter that is in use there, by dotted path.
        val_loss: what it reached. It must be comparable: same data, validation and epochs.
    """

    params: dict[str, Scalar]
    val_loss: float


class SpaceModel(FrozenModel):
    """The sections of a search space and what follows from them, each checked alone.

    `SearchSpace` adds the checks between sections. Only that one is ever constructed.

    Attributes:
        description: what the sweep is for, in words for people.
        sampler: how the settings of the next trial are chosen; a name alone is short for its defaults.
        pruner: which trials are stopped early; a name alone is short for its defaults.
        pruning_starts: which epochs the pruner sees and counts.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Names the study and runs.")]
    description: str = ""
    items: ItemsSettings | None = Field(default=None, description="Questions, answers and images.")
    vlm: VlmSettings | None = Field(default=None, description="The model that answers, and how it is asked.")
    embed: EmbedSettings | None = Field(
        default=None, description="Makes the embeddings of the items, where no file of them is named; needs items."
    )
    collect: CollectSettings | None = Field(
        default=None, description="Makes the run's data by asking the model; needs items and vlm."
    )
    data: DataSettings = DataSettings()
    trial: TrialSettings = Field(default=TrialSettings(), description="Settings that all trials share.")
    parameters: dict[str, Parameter] = Field(default={}, description="What varies, by the setting's dotted path.")
    init_from: Path | None = Field(
        default=None,
        description="Weights that all trials begin with, instead of their seed's: a folder that export wrote, or a .pt "
        "or .ckpt file of Lever-Plus. With rce.epochs 0 they are the reference policy of GRPO.",
    )
    enqueue: tuple[dict[str, Scalar], ...] = Field(default=(), description="Points to try first; the rest is sampled.")
    prior: tuple[PriorTrial, ...] | None = Field(
        default=None, description="Trials of an earlier run that the sampler (tpe, gp) learns from as from its own."
    )
    sampler: SamplerSettings = TpeSettings()
    pruner: PrunerSettings = MedianSettings()
    pruning_starts: PruningStarts = PruningStarts.AFTER_RCE
    budget: Budget = Budget(trials=24)
    resources: Resources = Resources()
    concurrency: PositiveInt | None = Field(default=None, description="Trials at a time; null: as many as fit.")
    seed: NonNegativeInt = Field(default=0, description="Seeds the sampler, and the training of all trials.")
    repeats: PositiveInt = Field(default=1, description="Train each configuration under so many successive seeds.")
    max_retries: NonNegativeInt = Field(default=3, description="Deaths of a trial's worker before the trial fails.")
    keep_epochs: PositiveInt = Field(default=2, description="Best epochs stored per trial.")
    max_disk_gb: PositiveFloat | None = Field(
        default=None, description="Bound on the run folder, in 10^9 bytes; null: none."
    )
    validation: ValidationSettings = ValidationSettings()
    evaluation: EvaluationSettings | None = Field(
        default=None, description="How the best trials answer held-out questions; needs items and vlm."
    )
    health: HealthSettings = HealthSettings()
    notify: NotifySettings | None = Field(default=None, description="Who is told when a run has ended.")
    loggers: LoggersSettings = Field(default=LoggersSettings(), description="Services that follow the run.")
    storage: str | None = Field(default=None, description="Optuna storage URL; null: SQLite in the run folder.")

    @field_validator("sampler", "pruner", mode="before")
    @classmethod
    def _a_name_is_its_type(cls, value: Any) -> Any:  # noqa: ANN401 (not yet validated)
        return {"type": value} if isinstance(value, str) else value

    @field_validator("parameters", mode="before")
    @classmethod
    def _scalars_are_fixed(cls, value: Any) -> Any:  # noqa: ANN401 (not yet validated)
        if not isinstance(value, dict):
            return value
        short = (bool, int, float, str, type(None))
        return {
            key: {"type": "fixed", "value": item} if isinstance(item, short) else item for key, item in value.items()
        }

    @field_validator("parameters")
    @classmethod
    def _addressed(cls, value: dict[str, Parameter]) -> dict[str, Parameter]:
        return fields.addressed(value, other_sections=frozenset(cls.model_fields) - {"trial"})

    @field_validator("enqueue", "prior", mode="before")
    @classmethod
    def _list_is_tuple(cls, value: Any) -> Any:  # noqa: ANN401 (not yet validated)
        return tuple(value) if isinstance(value, list) else value

    @cached_property
    def base(self) -> dict[str, Scalar]:
        """Every fixed setting by dotted path, as `trial` has it."""
        return flatten(self.trial)

    @cached_property
    def points(self) -> tuple[dict[str, Scalar], ...]:
        """`enqueue`, with the values as the settings hold them."""
        return tuple({path: addresses()[path].check(value) for path, value in item.items()} for item in self.enqueue)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The order in which parameters are decided."""
        return decision_order(self.parameters)

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples, in order. Fixed parameters are not among them."""
        found = {path: self.parameters[path].distribution() for path in self.order}
        return {path: distribution for path, distribution in found.items() if distribution is not None}

    @property
    def most_shots(self) -> int | None:
        """The most demonstrations that the evaluation shows. None without an evaluation."""
        return None if self.evaluation is None else self.evaluation.shot_numbers[-1]

    def in_use(self, path: str, values: Mapping[str, Scalar]) -> bool:
        """Whether a parameter applies, given all parameters before it in `order` (fixed ones included)."""
        return holds(self.parameters[path], values, self.base)

    def with_fixed(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Sampled parameters and the fixed ones that apply beside them."""
        values: dict[str, Scalar] = {}
        for path in self.order:
            parameter = self.parameters[path]
            if path in params:
                values[path] = params[path]
            elif isinstance(parameter, FixedParameter) and self.in_use(path, values):
                values[path] = parameter.value
        return values

    def resolve(self, params: Mapping[str, Scalar], repeat: int) -> TrialSettings:
        """The complete settings of a trial.

        Args:
            params: sampled parameters by dotted path.
            repeat: which of the configuration's repeats, from 0. The seed is `trial.seed` where the file sets it,
                else the space's, plus `repeat`. A `seed` among the parameters is taken as it is.

        Raises:
            SpaceError: a parameter that the space does not have, or values that cannot be trained together.
        """
        unknown = [path for path in params if path not in self.parameters]
        if unknown:
            raise SpaceError(
                f"{', '.join(unknown)}: no parameter of space {self.name!r}; it has {', '.join(self.order)}"
            )
        start = self.trial.seed if "seed" in self.trial.model_fields_set else self.seed
        values = {"seed": start + repeat, **self.with_fixed(params)}
        try:
            return with_values(self.trial, values)
        except ValidationError as error:
            raise SpaceError(refusal(error, values)) from None

    def epochs(self) -> tuple[int, int]:
        """The most epochs that a trial of the space can have: in RCE, in GRPO."""
        return largest(self, "rce.epochs"), largest(self, "grpo.epochs")

    def pruned_epochs(self) -> int:
        """The most epochs that the pruner of a trial can see, at least 1 (see `PruningStarts`)."""
        rce, grpo = self.epochs()
        return max(1, grpo if self.pruning_starts is PruningStarts.AFTER_RCE else rce + grpo)


def largest(space: SpaceModel, path: str) -> int:
    """The largest value that an int setting can take in the space."""
    return max(int(value) for value in extremes(space, path) if value is not None)


def extremes(space: SpaceModel, path: str) -> list[Scalar]:
    """Values of a setting that show what the space can give it: its bounds or choices, and its fixed value."""
    parameter = space.parameters.get(path)
    fixed = [space.base[path]] if parameter is None or parameter.when else []
    return fixed if parameter is None else [*fixed, *parameter.probes()]

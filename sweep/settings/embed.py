"""How items become embeddings. Part of a space, never sampled."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from selector.settings import Fraction, FrozenModel, PositiveInt
from sweep.settings.vlm import ModelSettings, WorkerSettings

VISION_TOWER = "vlm"
"""In place of a checkpoint: the vision tower of the model that answers."""


class Inputs(StrEnum):
    """What of an item is embedded."""

    IMAGE = "image"
    QUESTION = "question"
    BOTH = "both"

    @property
    def parts(self) -> tuple[Inputs, ...]:
        """`image`, `question` or both of them."""
        return (Inputs.IMAGE, Inputs.QUESTION) if self is Inputs.BOTH else (self,)


class Combine(StrEnum):
    """How the embeddings of an image and a question become one."""

    MEAN = "mean"  # weighted mean; both have the same width
    CONCATENATION = "concatenation"  # the image's first; twice as wide


class EmbedModelSettings(ModelSettings):
    """Which checkpoint embeds.

    Attributes:
        path: a folder with a CLIP or SigLIP checkpoint, a hub name, or `vlm` for the vision tower of section `vlm`.
    """

    path: str = Field(min_length=1, description="A folder or hub name (CLIP, SigLIP); vlm: the VLM's vision tower.")


class EmbedWorkerSettings(WorkerSettings):
    """The pool: one model per worker.

    Attributes:
        batch: parts of one batch. A part is 64 images or 64 questions. It is stored when it is done.
    """

    section: ClassVar[str] = "embed.workers"
    holds: ClassVar[str] = "the embedding model"
    actor: ClassVar[str] = "EmbedWorker"
    batch: PositiveInt = 1


class EmbedSettings(FrozenModel):
    """What is embedded, and by what.

    Attributes:
        model: which checkpoint embeds.
        inputs: what of an item is embedded.
        combine: how image and question become one embedding, for `both` only.
        normalise: give every vector unit length: image and question each, and what they become.
        image_threads: threads of a worker that decode and resize.
    """

    model: EmbedModelSettings
    inputs: Inputs = Inputs.BOTH
    combine: Combine = Combine.MEAN
    image_weight: Fraction = Field(
        default=0.5, description="Weight of the image; the question has the rest. For `both` only."
    )
    normalise: bool = True
    image_threads: Annotated[int, Field(ge=1, le=256)] = 2
    failure_limit: Fraction = Field(
        default=0.01, description="Share of items without a readable image above which this stops."
    )
    workers: EmbedWorkerSettings = EmbedWorkerSettings()

    @model_validator(mode="after")
    def _both_or_neither(self) -> EmbedSettings:
        named = [name for name in ("combine", "image_weight") if name in self.model_fields_set]
        if named and self.inputs is not Inputs.BOTH:
            raise ValueError(f"{named[0]} is for inputs both; inputs {self.inputs} has one embedding: leave it out")
        return self

    @model_validator(mode="after")
    def _images_only(self) -> EmbedSettings:
        if self.model.path == VISION_TOWER:
            if self.inputs is not Inputs.IMAGE:
                raise ValueError("the vision tower of section vlm reads no text: set inputs to image")
            if self.model.revision is not None:
                raise ValueError("revision belongs to vlm.model where the vision tower of section vlm embeds")
        return self

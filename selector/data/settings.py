"""Which training data a run reads and how its queries are divided. Part of a space, never sampled."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from selector.settings import FrozenModel, NonNegativeInt

PartOfData = Annotated[float, Field(ge=0, lt=1)]


class SplitSettings(FrozenModel):
    """Shares of the queries for validation and test. The rest trains. Data in native form keeps its own split.

    Attributes:
        val: share of the queries for validation.
        test: share of the queries for the final comparison.
        seed: decides which queries they are.
    """

    val: PartOfData = 0.15
    test: PartOfData = 0.15
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _leaves_training_queries(self) -> SplitSettings:
        if self.val + self.test >= 1:
            raise ValueError(
                f"val {self.val} and test {self.test} leave nothing to train on: their sum must be below 1"
            )
        return self


class DemoSettings(FrozenModel):
    """The data that the project makes itself (`selector.data.synthetic`).

    Attributes:
        seed: decides everything. Equal settings give equal data.
        items: rows of the item table.
        queries: how many of the items are queries.
    """

    seed: NonNegativeInt = 0
    items: Annotated[int, Field(ge=200, le=1_000_000)] = 1500
    queries: Annotated[int, Field(ge=20)] = 700

    @model_validator(mode="after")
    def _queries_are_items(self) -> DemoSettings:
        if self.queries > self.items:
            raise ValueError(f"queries {self.queries} is above items {self.items}: every query is an item")
        return self


class SplitBy(StrEnum):
    """What is kept together when queries are divided."""

    QUERY = "query"
    IMAGE = "image"


class DataSettings(FrozenModel):
    """Where the training data is. `path: null` means the demo data."""

    path: Path | None = Field(
        default=None,
        description="A folder in native form; or a folder with rl_data.json (or one other JSON file of RL data) and "
        "embeddings.pth, .pt or .npy; or such a JSON file. Null: the demo data.",
    )
    embeddings: Path | None = Field(
        default=None, description="The embedding table of a JSON file; null looks for embeddings.* next to it."
    )
    split: SplitSettings = SplitSettings()
    split_by: SplitBy = Field(
        default=SplitBy.QUERY,
        description="image keeps queries on one image in one split; it needs the section items. For JSON files only.",
    )
    keep_fallback: bool = Field(
        default=False, description="Keep beams whose vqa_eval_mode is fallback; left out (and counted) otherwise."
    )
    demo: DemoSettings = DemoSettings()

    @model_validator(mode="after")
    def _embeddings_need_a_path(self) -> DataSettings:
        if self.embeddings is not None and self.path is None:
            raise ValueError(f"embeddings {str(self.embeddings)!r} is given without path: name the JSON file as well")
        return self

"""Settings of the demo data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from selector.settings import Fraction, FrozenModel, NonNegativeInt

CONCEPTS = 192
"""Concepts of the world: 8 shapes, 8 colours and 3 textures, combined (`sweep.demo.concepts`)."""


class WorldSettings(FrozenModel):
    """The demo data: an item table of demonstrations and queries, and every query's pool.

    Attributes:
        seed: decides everything. Equal settings give equal files.
        demonstrations: items that pools draw from. Queries are never among them.
        train, val, test: queries of each split.
        smallest_pool, largest_pool: candidates of a query.
        concepts: how many of the world's concepts occur in this data.
        shared_images: share of demonstrations that ask about the same image as the demonstration before.
        hopeless: share of the queries about names and makers whose pool holds nothing that tells the answer.
    """

    seed: NonNegativeInt = 0
    demonstrations: Annotated[int, Field(ge=200, le=100_000)] = 600
    train: Annotated[int, Field(ge=1)] = 240
    val: Annotated[int, Field(ge=1)] = 60
    test: Annotated[int, Field(ge=1)] = 100
    smallest_pool: Annotated[int, Field(ge=16)] = 32
    largest_pool: Annotated[int, Field(le=128)] = 48
    concepts: Annotated[int, Field(ge=8, le=CONCEPTS)] = 40
    shared_images: Fraction = 0.25
    hopeless: Fraction = 0.08

    @model_validator(mode="after")
    def _ordered(self) -> WorldSettings:
        if self.smallest_pool > self.largest_pool:
            raise ValueError(f"smallest_pool {self.smallest_pool} is above largest_pool {self.largest_pool}")
        return self

    @property
    def queries(self) -> int:
        """Queries of all splits."""
        return self.train + self.val + self.test

    @property
    def items(self) -> int:
        """Rows of the item table: demonstrations first, then the queries of train, val and test."""
        return self.demonstrations + self.queries

"""Which beams are measured. Part of a space, never sampled."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from selector.data.settings import SplitSettings
from selector.settings import Fraction, FrozenModel, NonNegativeInt, PositiveInt
from sweep.settings.proposers import BeamCounts
from sweep.settings.rounds import CollectBudget, RoundsSettings
from sweep.vqa.accuracy import AnswerNormalisation

Temperature = Annotated[float, Field(ge=1e-4)]


class PoolBy(StrEnum):
    """How a query's candidates are chosen."""

    SIMILARITY = "similarity"  # the nearest by cosine of their embeddings
    IMAGE = "image"  # the nearest by cosine of the images' own embeddings
    QUESTION = "question"  # the nearest by cosine of the questions' own embeddings
    RANDOM = "random"
    MIXED = "mixed"  # a share of each kind


class PoolShares(FrozenModel):
    """Shares of a mixed pool by kind. They add up to 1.

    Attributes:
        similarity: the nearest by cosine of their embeddings.
        image: the nearest by cosine of the images' own embeddings.
        question: the nearest by cosine of the questions' own embeddings.
        random: drawn uniformly from the rest.
    """

    similarity: Fraction = 0.0
    image: Fraction = 0.0
    question: Fraction = 0.0
    random: Fraction = 0.0

    @model_validator(mode="after")
    def _whole(self) -> PoolShares:
        total = self.similarity + self.image + self.question + self.random
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares add up to {total:g}; they are similarity, image, question and random of 1")
        return self


class PoolSettings(FrozenModel):
    """A query's candidates.

    Attributes:
        by: how the candidates of a query are chosen.
        shares: for `mixed` only: how much of each kind, instead of `share`.
    """

    size: PositiveInt = Field(default=64, description="Candidates per query; fewer where there are not so many.")
    by: PoolBy = PoolBy.MIXED
    share: Fraction = Field(
        default=0.375, description="For `mixed` without `shares`: share of nearest candidates, the rest at random."
    )
    shares: PoolShares | None = None

    @model_validator(mode="after")
    def _shares_of_a_mix(self) -> PoolSettings:
        if self.shares is not None and self.by is not PoolBy.MIXED:
            raise ValueError(f"shares are for by: mixed; by {self.by} takes all candidates in one way: leave them out")
        if self.shares is not None and "share" in self.model_fields_set:
            raise ValueError("share and shares are both given; keep shares, where share is the kind similarity")
        return self

    def counts(self) -> dict[PoolBy, int]:
        """Candidates by each kind of nearness, in the order in which they are chosen. The rest is drawn at random.

        Kinds with none are left out. Together they are at most `size`: a share ends where the next one begins.
        """
        nearest = (PoolBy.SIMILARITY, PoolBy.IMAGE, PoolBy.QUESTION)
        shares: dict[PoolBy, float]
        if self.by is not PoolBy.MIXED:
            shares = {self.by: 1.0}
        elif self.shares is None:
            shares = {PoolBy.SIMILARITY: self.share}
        else:
            shares = {kind: float(getattr(self.shares, kind.value)) for kind in nearest}
        ends = [round(self.size * sum(shares.get(kind, 0.0) for kind in nearest[:place])) for place in range(4)]
        counts = {kind: ends[place + 1] - ends[place] for place, kind in enumerate(nearest)}
        return {kind: count for kind, count in counts.items() if count}


class BuildSettings(FrozenModel):
    """How queries and pools are made from the items (rules: `sweep.collect.queries`)."""

    count: PositiveInt | None = Field(default=None, description="Number of queries; null: every item that has answers.")
    pool: PoolSettings = PoolSettings()
    split: SplitSettings = Field(default=SplitSettings(), description="Shares of the queries' images.")


class CollectSettings(FrozenModel):
    """Queries, pools and beams to measure.

    Attributes:
        queries: a Parquet file with the columns query_item, pool and split (as in a native folder).
        build: how queries are made where no file is given.
        embeddings: one row per item, instead of those that section `embed` makes or that come with the items.
        image_embeddings: those of the images alone, for pools by `image`. None: as made by section `embed`.
        question_embeddings: those of the questions alone, for pools by `question`. None: as made by section `embed`.
        picks: demonstrations per beam (S).
        similarity_temperature: cosine similarities are divided by it before sampling.
        selector: an exported selector, for the two proposers that need one.
        metric: which VQA accuracy `vqa_acc_score` is.
        gt_prob: whether the probability of the ground truth is measured too (`vqa_gt_prob`).
        beams: how many beams of which kind; with `rounds`, in the first round.
        held_out_beams: the same for validation and test queries. None: as `beams`.
        rounds: further rounds of beams, for training queries. None: every query is measured once.
        budget: prompts or hours over all. None: no limit.
        selector_temperature: the selector's scores are divided by it before sampling.
        seed: decides which beams are sampled.
    """

    queries: Path | None = None
    build: BuildSettings = BuildSettings()
    embeddings: Path | None = None
    image_embeddings: Path | None = None
    question_embeddings: Path | None = None
    picks: Annotated[int, Field(ge=1, le=16)] = 2
    beams: BeamCounts = BeamCounts()
    held_out_beams: BeamCounts | None = None
    rounds: RoundsSettings | None = None
    budget: CollectBudget | None = None
    similarity_temperature: Temperature = 0.1
    selector_temperature: Temperature = 1.0
    selector: Path | None = None
    metric: AnswerNormalisation = AnswerNormalisation.OFFICIAL
    gt_prob: bool = True
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _one_source_of_queries(self) -> CollectSettings:
        if self.queries is not None and self.build != BuildSettings():
            raise ValueError("queries names a file with pools and splits, so build has no effect; use one of them")
        if self.queries is None and self.build.pool.size < self.picks:
            raise ValueError(f"build.pool.size {self.build.pool.size} is below picks {self.picks}")
        return self

    @model_validator(mode="after")
    def _separate_where_they_are_used(self) -> CollectSettings:
        used = {} if self.queries is not None else self.build.pool.counts()
        for kind in (PoolBy.IMAGE, PoolBy.QUESTION):
            if getattr(self, f"{kind}_embeddings") is not None and kind not in used:
                raise ValueError(f"{kind}_embeddings are for pools by {kind}, and there are none: leave them out")
        return self

    @model_validator(mode="after")
    def _selector_where_it_is_used(self) -> CollectSettings:
        first = self.beams.of_selector + self.of_held_out.of_selector
        further = self.rounds.beams.of_selector if self.rounds is not None else 0
        online = self.rounds is not None and self.rounds.online is not None
        if self.selector is None and (first or (further and not online)):
            raise ValueError(
                "beams.selector_beam and beams.selector_sampled need a selector: name its folder"
                + ("" if first else ", or set rounds.online")
            )
        if self.selector is not None and not first and (online or not further):
            why = "rounds.online trains another one" if online else "beams.selector_beam and selector_sampled are 0"
            raise ValueError(f"selector is given, but {why}")
        return self

    @property
    def of_held_out(self) -> BeamCounts:
        """Beams of validation and test queries."""
        return self.held_out_beams or self.beams

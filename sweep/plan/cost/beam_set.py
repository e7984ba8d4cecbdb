"""The beams that a plan will measure, proposed already or drawn in their number where that needs embeddings first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selector.arrays import Float32Array, Int64Array
from selector.data import Dataset
from selector.data.dataset import Outcome, Split
from selector.data.queries import QueryTable
from sweep.errors import SpaceError
from sweep.items import ItemTable
from sweep.plan.plan import CollectionPlan, EmbeddingPlan
from sweep.settings.collect import CollectSettings
from sweep.settings.vlm import VlmSettings

DRAWN_WIDTH = 4


@dataclass(frozen=True)
class BeamSet:
    """Beams that are still to be measured, and what asks for them.

    Attributes:
        picks: int64 [beams, S], pool positions.
        starts: int64 [Q + 1], where each query's beams begin.
    """

    settings: CollectSettings
    vlm: VlmSettings
    items: ItemTable
    queries: QueryTable
    picks: Int64Array
    starts: Int64Array

    @property
    def shown(self) -> Int64Array:
        """Item ids of all beams, [beams, S]."""
        owners = np.repeat(np.arange(len(self.queries)), np.diff(self.starts))
        shown: Int64Array = self.queries.pool_items[self.queries.pool_starts[owners][:, None] + self.picks]
        return shown

    @classmethod
    def of(cls, plan: CollectionPlan) -> BeamSet:
        """Those that a plan has proposed."""
        beams = plan.beams
        return cls(plan.settings, plan.vlm, plan.items, beams.queries, beams.beam_picks, beams.beam_starts)

    @classmethod
    def drawn(cls, plan: EmbeddingPlan) -> BeamSet:
        """As many as there will be when the items are embedded, with queries, pools and beams drawn at random.

        Raises:
            SpaceError: none will be: the items are embedded for their own sake.
        """
        settings, vlm, table = plan.collect, plan.space.vlm, plan.items
        if settings is None or vlm is None:
            raise SpaceError(f"space {plan.space.name!r} has no section collect: only its items are embedded")
        draw = np.random.default_rng(0)
        count = len(plan.splits)
        each = np.where(plan.splits == int(Split.TRAIN), settings.beams.total, settings.of_held_out.total)
        answered = np.flatnonzero([len(table.answers(item)) > 0 for item in range(len(table))])
        size = max(min(settings.build.pool.size, len(answered)), settings.picks)
        queries = QueryTable(
            np.sort(draw.choice(answered, count, replace=False)),
            draw.choice(answered, count * size),
            np.arange(count + 1, dtype=np.int64) * size,
            plan.splits,
        )
        picks = draw.random((each.sum(), size)).argsort(axis=1)[:, : settings.picks]
        return cls(settings, vlm, table, queries, picks, np.concatenate([[0], np.cumsum(each)]).astype(np.int64))

    def dataset(self) -> Dataset:
        """The data that will come of it, with outcomes and embeddings that are drawn."""
        queries, draw = self.queries, np.random.default_rng(0)
        outcome: Float32Array = draw.integers(0, 2, len(self.picks)).astype(np.float32)
        return Dataset(
            embeddings=draw.standard_normal((len(self.items), DRAWN_WIDTH), dtype=np.float32),
            query_items=queries.query_items,
            pool_items=queries.pool_items,
            pool_starts=queries.pool_starts,
            beam_picks=self.picks,
            beam_starts=self.starts,
            outcomes=dict.fromkeys(Outcome, outcome),
            split=queries.split,
            counts={},
        )

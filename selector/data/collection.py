"""How collected data came about: its rounds, and the data sets that it extends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from selector.arrays import Int64Array
from selector.data.dataset import Dataset
from selector.settings import FrozenModel, NonNegativeInt, PositiveInt


class Round(FrozenModel):
    """One round of beams.

    Attributes:
        number: from 1. An extension counts on from its parent's.
        prompts: beams asked, those without an answer included.
        selector: SHA-256 of the weights of the selector that was trained for this round or given. None: there is none.
    """

    number: PositiveInt
    prompts: NonNegativeInt
    selector: str | None = None


class Ancestor(FrozenModel):
    """A data set that another one extends.

    Attributes:
        fingerprint: of its values.
        last_round: its beams are those of the rounds up to this one.
        queries: how many it has.
        beams: how many it has.
    """

    fingerprint: str
    last_round: PositiveInt
    queries: PositiveInt
    beams: PositiveInt


class CollectionRecord(FrozenModel):
    """What a manifest says of a collection.

    Attributes:
        measured_by: hash of all that decides the outcome of a beam: items, embeddings, model, prompt and metric.
        rounds: all of them, those of the ancestors too.
        cut_by: the budget that ended the collection before its end, `prompts` or `hours`. None: nothing did.
        parents: the data sets that it extends, the oldest first.
    """

    measured_by: str
    rounds: list[Round]
    cut_by: str | None = None
    parents: list[Ancestor] = Field(default_factory=list)

    @property
    def bias(self) -> str | None:
        """What to bear in mind before the data is compared with other data. None: it is measured evenly."""
        return UNEVEN if len(self.rounds) > 1 else None


UNEVEN = (
    "The training groups were measured unevenly. In rounds after the first, queries got more beams, or none, because "
    "of what their first beams had shown, and the beams were proposed from these outcomes. So shares of correct "
    "beams, and of groups with a correct beam or with contrast, say nothing about the pools. Only the validation and "
    "test groups, which the first round alone measured, can be compared with other data."
)
"""The bias of data with more than one round."""


def as_of_round(dataset: Dataset, rounds_N: Int64Array, last: int) -> Dataset:
    """The data set of the beams up to a round, and of the queries that have any.

    Args:
        dataset: the whole.
        rounds_N: int64 [sum N], the round of each beam.
        last: the last round that counts.
    """
    kept = rounds_N <= last
    owner = np.repeat(np.arange(dataset.queries), np.diff(dataset.beam_starts))
    beams_of = np.bincount(owner[kept], minlength=dataset.queries)
    left = np.flatnonzero(beams_of)
    pools = [dataset.pool_items[dataset.pool_starts[query] : dataset.pool_starts[query + 1]] for query in left]
    return Dataset(
        embeddings=dataset.embeddings,
        query_items=dataset.query_items[left],
        pool_items=np.concatenate([np.zeros(0, dtype=np.int64), *pools]),
        pool_starts=np.concatenate([[0], np.cumsum([len(pool) for pool in pools])]).astype(np.int64),
        beam_picks=dataset.beam_picks[kept],
        beam_starts=np.concatenate([[0], np.cumsum(beams_of[left])]).astype(np.int64),
        outcomes={name: values[kept] for name, values in dataset.outcomes.items()},
        split=dataset.split[left],
    )


def wrong_ancestors(dataset: Dataset, rounds_N: Int64Array, record: CollectionRecord) -> Iterator[tuple[str, str]]:
    """What is wrong with the ancestors that a record names: where, and what. Their own folders are not needed.

    Extensions only add queries and beams at the end. So the values up to an ancestor's last round are the ancestor's.
    """
    for number, parent in enumerate(record.parents):
        earlier = as_of_round(dataset, rounds_N, parent.last_round)
        found = {
            "fingerprint": earlier.fingerprint(), "queries": earlier.queries, "beams": len(earlier.beam_picks),
        }  # fmt: skip
        for name, right in found.items():
            said = getattr(parent, name)
            if said != right:
                yield (
                    f"parents.{number}.{name}",
                    f"{said!a:.70}, but the rounds up to {parent.last_round} have {right!a}",
                )

"""Queries that share an image with a query of another split, or with a candidate.

What is measured on such a query was perhaps seen in training.

Without items, equal rows of the embeddings are taken for one image. That is a weaker sign. It misses images whose
questions are part of the embedding, and where only questions are embedded, it finds equal questions.

Legend: Q queries, K candidates of one query, M items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from selector.arrays import BoolArray, Float32Array, Int64Array
from selector.data.dataset import Split
from selector.data.queries import QueryTable


class Sign(StrEnum):
    """What tells that two items show one image."""

    IMAGE = "image"
    EMBEDDING = "embedding"


@dataclass(frozen=True)
class SharedImages:
    """One kind of sharing.

    Attributes:
        sentence: how many queries, and one of them.
        count: queries that it concerns.
        across_splits: whether both sides are queries, of different splits.
        sign: what tells it.
    """

    sentence: str
    count: int
    across_splits: bool
    sign: Sign


def find_shared_images(queries: QueryTable, images_M: Int64Array, sign: Sign = Sign.IMAGE) -> list[SharedImages]:
    """All sharing among queries and between queries and candidates, by kind. Empty where there is none.

    Args:
        queries: with their pools and splits.
        images_M: int64, equal for items on one image.
        sign: what the numbers stand for.
    """
    return [*_across_splits(queries, images_M, sign), *_in_pools(queries, images_M, sign)]


def _across_splits(queries: QueryTable, images_M: Int64Array, sign: Sign) -> Iterator[SharedImages]:
    images_Q = images_M[queries.query_items]
    for first, second in ((Split.TRAIN, Split.VAL), (Split.TRAIN, Split.TEST), (Split.VAL, Split.TEST)):
        known_Q, asked_Q = queries.split == int(first), queries.split == int(second)
        shared = np.flatnonzero(asked_Q & np.isin(images_Q, images_Q[known_Q]))
        if len(shared):
            other = int(np.flatnonzero(known_Q & (images_Q == images_Q[shared[0]]))[0])
            yield SharedImages(
                f"{_queries(len(shared), second)} the {sign} of a {_name(first)} query, such as "
                f"{_item(queries, int(shared[0]))} and {_item(queries, other)}{_image(images_Q[shared[0]], sign)}",
                len(shared),
                across_splits=True,
                sign=sign,
            )


def _in_pools(queries: QueryTable, images_M: Int64Array, sign: Sign) -> Iterator[SharedImages]:
    owner_K = np.repeat(np.arange(len(queries.query_items)), np.diff(queries.pool_starts))
    images_Q, images_K = images_M[queries.query_items], images_M[queries.pool_items]
    training_K = queries.split[owner_K] == int(Split.TRAIN)
    for split in (Split.VAL, Split.TEST):
        for pools_K, whose in ((training_K, "train queries"), (~training_K, "val or test queries")):
            # A query that is its own candidate is a kind of its own.
            others_K = pools_K & (images_K != images_Q[owner_K])
            shared = np.flatnonzero((queries.split == int(split)) & np.isin(images_Q, images_K[others_K]))
            if len(shared):
                place = int(np.flatnonzero(others_K & (images_K == images_Q[shared[0]]))[0])
                yield SharedImages(
                    f"{_queries(len(shared), split)} the {sign} of candidates of {whose}, such as "
                    f"{_item(queries, int(shared[0]))} and candidate {queries.pool_items[place]} of "
                    f"{_item(queries, int(owner_K[place]))}{_image(images_Q[shared[0]], sign)}",
                    len(shared),
                    across_splits=False,
                    sign=sign,
                )
    yield from _own(queries, owner_K, images_K == images_Q[owner_K], images_Q, sign)


def _own(
    queries: QueryTable, owner_K: Int64Array, same_K: BoolArray, images_Q: Int64Array, sign: Sign
) -> Iterator[SharedImages]:
    places = np.flatnonzero(same_K)
    if len(places):
        owner, candidate = int(owner_K[places[0]]), int(queries.pool_items[places[0]])
        count = len(np.unique(owner_K[places]))
        yield SharedImages(
            f"{_queries(count, None)} {'its' if count == 1 else 'their'} own {sign} among "
            f"{'its' if count == 1 else 'their'} candidates, such as {_item(queries, owner)} and candidate "
            f"{candidate}{_image(images_Q[owner], sign)}",
            count,
            across_splits=False,
            sign=sign,
        )


def equal_rows(embeddings: Float32Array) -> Int64Array:
    """A number per row, int64 [M], equal where the rows are equal to the bit."""
    known: dict[bytes, int] = {}
    digests = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in embeddings)  # rows would fill memory
    return np.array([known.setdefault(digest, place) for place, digest in enumerate(digests)], dtype=np.int64)


def _queries(count: int, split: Split | None) -> str:
    name = "" if split is None else f"{_name(split)} "
    return f"{count} {name}{'query has' if count == 1 else 'queries have'}"


def _name(split: Split) -> str:
    return split.name.lower()


def _item(queries: QueryTable, query: int) -> str:
    return f"{_name(Split(int(queries.split[query])))} query {queries.query_items[query]}"


def _image(image: int, sign: Sign) -> str:
    return f" (image {image})" if sign is Sign.IMAGE else ""

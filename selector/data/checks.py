"""The checks that every data set passes, whatever it was stored as: vectorised over a `Dataset`.

Each message names the file, the query's item id, the field as the file calls it, and the first offender.
Legend as in `selector.data.dataset`: Q queries, M items, D width, S picks. `sum K`, `sum N` over pools and groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from selector.arrays import BoolArray, Float32Array, Int64Array
from selector.data.dataset import Dataset, Outcome, Split
from selector.data.place import Place

TOLERANCE = 1e-6
RANGES = {
    Outcome.ACC_SCORE: (0.0, 1.0),
    Outcome.GT_PROB: (0.0, 1.0),
    Outcome.REL_SCORE: (-1.0, 1.0),
}
# Squares of float32 lengths outside of these bounds vanish or overflow, and with them the cosine.
SHORTEST, LONGEST = 1e-12, 1e18


@dataclass(frozen=True)
class Names:
    """What a file calls the fields of a `Dataset`, for messages."""

    pool: str = "pool"
    picks: str = "picks"
    outcomes: Mapping[Outcome, str] = field(default_factory=dict)

    def of(self, outcome: Outcome) -> str:
        """The file's name for a measured column."""
        return self.outcomes.get(outcome, outcome.value)


def check_embeddings(embeddings: Float32Array, file: str) -> None:
    """Refuse a float32 table that is not [M, D] with D >= 1, or holds NaN or infinity."""
    place = Place(file)
    if embeddings.ndim != 2:
        raise place.error(f"expected a table of 2 dimensions [items, width], found shape {list(embeddings.shape)}")
    if embeddings.shape[1] == 0:
        raise place.error(f"the embeddings have no columns (shape {list(embeddings.shape)})")
    # NaN and infinity survive min and max, which need no table of flags as large as the embeddings.
    if embeddings.size and not (np.isfinite(embeddings.min()) and np.isfinite(embeddings.max())):
        row, column = np.argwhere(~np.isfinite(embeddings))[0]
        value = embeddings[row, column]
        raise place.error(f"row {row}, column {column} is {value} in float32; embeddings must be finite")


def check_dataset(
    dataset: Dataset,
    file: str,
    *,
    names: Names | None = None,
    embeddings_file: str | None = None,
    numbers: Int64Array | None = None,
) -> None:
    """Check everything about a data set that its types do not.

    Args:
        dataset: consistent in its shapes and offsets (that is the readers' part), otherwise arbitrary.
        file: the prefix of every message.
        names: what the file calls its fields. The names of the native form if None.
        embeddings_file: where the embeddings came from. `file` if None.
        numbers: int64 [sum N], the index each beam has in its file, where left-out beams shifted it.

    Raises:
        DataError: for the first violation found, in the order of this function's body.
    """
    check = _Check(dataset, file, names or Names(), embeddings_file or file, numbers)
    check.queries()
    check.pools()
    check.embedding_rows()
    check.groups()
    check.pick_ranges()
    check.outcomes()
    check.lengths()
    check.splits()


def noticed(dataset: Dataset) -> Counter[str]:
    """What is allowed but worth telling: queries in their own pool, beams equal to an earlier one of their group."""
    owner = np.repeat(dataset.query_items, np.diff(dataset.pool_starts))
    inside = np.flatnonzero(dataset.pool_items == owner)
    in_own_pool = len(np.unique(np.searchsorted(dataset.pool_starts, inside, side="right")))
    group = np.repeat(np.arange(dataset.queries), np.diff(dataset.beam_starts))
    keys = np.column_stack([group, dataset.beam_picks])
    keys = keys[np.lexsort(keys.T)]
    identical = int((keys[1:] == keys[:-1]).all(axis=1).sum())
    return Counter({"query_in_own_pool": in_own_pool, "identical_beams": identical})


@dataclass(frozen=True)
class _Check:
    """The data set and what is needed to say where in its file something stands."""

    dataset: Dataset
    file: str
    names: Names
    embeddings_file: str
    numbers: Int64Array | None

    def at_query(self, query: int) -> Place:
        return Place(self.file, int(self.dataset.query_items[query]))

    def at_beam(self, row: int) -> Place:
        starts = self.dataset.beam_starts
        query = int(np.searchsorted(starts, row, side="right")) - 1
        number = row - starts[query] if self.numbers is None else self.numbers[row]
        return Place(self.file, int(self.dataset.query_items[query]), int(number))

    def queries(self) -> None:
        items = self.dataset.query_items
        if len(items) == 0:
            raise Place(self.file).error("holds no query")
        _, first, inverse = np.unique(items, return_index=True, return_inverse=True)
        for query in _offenders(first[inverse] != np.arange(len(items))):
            raise self.at_query(query).error("the query appears twice; each may appear once")
        for query in _offenders(items < 0):
            raise self.at_query(query).error("the query id is negative; expected the row of its embedding, from 0")

    def pools(self) -> None:
        data = self.dataset
        sizes = np.diff(data.pool_starts)
        for query in _offenders(sizes == 0):
            raise self.at_query(query).error("the pool is empty", self.names.pool)
        for query in _offenders(sizes < data.picks):
            raise self.at_query(query).error(
                f"the pool of {sizes[query]} is smaller than the {data.picks} picks of a beam", self.names.pool
            )
        owner = np.repeat(np.arange(data.queries), sizes)
        for row in _offenders(data.pool_items < 0):
            raise self.at_query(owner[row]).error(
                f"item {data.pool_items[row]} is negative; items are rows of the embeddings, from 0", self.names.pool
            )
        order = np.lexsort((data.pool_items, owner))
        items, owners = data.pool_items[order], owner[order]
        for row in _offenders((items[1:] == items[:-1]) & (owners[1:] == owners[:-1])):
            raise self.at_query(owners[row]).error(f"item {items[row]} appears twice in the pool", self.names.pool)

    def embedding_rows(self) -> None:
        data = self.dataset
        rows = len(data.embeddings)
        largest = np.maximum(np.maximum.reduceat(data.pool_items, data.pool_starts[:-1]), data.query_items)
        for query in _offenders(largest >= rows):
            is_query = data.query_items[query] >= rows
            field_name = "the query itself" if is_query else self.names.pool
            raise self.at_query(query).error(
                f"embeddings too short: {self.embeddings_file} has {rows} rows, {int(largest.max()) + 1} are needed "
                f"(first by item {data.query_items[query] if is_query else largest[query]})",
                field_name,
            )

    def groups(self) -> None:
        for query in _offenders(np.diff(self.dataset.beam_starts) == 0):
            raise self.at_query(query).error("the group is empty; expected at least one beam", self.names.picks)
        if self.dataset.picks == 0:
            raise self.at_beam(0).error("the beam picks nothing; expected at least one pick", self.names.picks)

    def pick_ranges(self) -> None:
        data = self.dataset
        pool_sizes = np.repeat(np.diff(data.pool_starts), np.diff(data.beam_starts))
        outside = (data.beam_picks < 0) | (data.beam_picks >= pool_sizes[:, None])
        for row in _offenders(np.logical_or.reduce(outside, axis=1)):
            pick = next(pick for pick in data.beam_picks[row] if not 0 <= pick < pool_sizes[row])
            raise self.at_beam(row).error(
                f"position {pick} is outside of its pool of {pool_sizes[row]}; expected 0 to {pool_sizes[row] - 1}",
                self.names.picks,
            )
        ordered = np.sort(data.beam_picks, axis=1)
        repeats: BoolArray = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        for row in _offenders(repeats):
            picks = data.beam_picks[row].tolist()
            raise self.at_beam(row).error(
                f"repeats a pick (pool positions {picks}); a beam picks each at most once", self.names.picks
            )

    def outcomes(self) -> None:
        if not self.dataset.outcomes:
            known = ", ".join(outcome.value for outcome in Outcome)
            raise Place(self.file).error(f"the beams carry no measured outcome; expected at least one of {known}")
        for outcome, values in self.dataset.outcomes.items():
            name = self.names.of(outcome)
            for row in _offenders(~np.isfinite(values)):
                raise self.at_beam(row).error(f"is {values[row]} in float32; expected a finite number", name)
            if outcome is Outcome.CORRECT:
                for row in _offenders((values != 0) & (values != 1)):
                    raise self.at_beam(row).error(f"is {values[row]:g}; expected 0 or 1", name)
            if outcome in RANGES:
                low, high = RANGES[outcome]
                for row in _offenders((values < low - TOLERANCE) | (values > high + TOLERANCE)):
                    raise self.at_beam(row).error(f"is {values[row]:g}; expected {low:g} to {high:g}", name)

    def lengths(self) -> None:
        """Rows without a direction have no cosine. They are refused where they are used."""
        data = self.dataset
        with np.errstate(over="ignore", under="ignore"):
            lengths = np.sqrt(np.einsum("md,md->m", data.embeddings, data.embeddings))
        bad = ~((lengths > SHORTEST) & (lengths < LONGEST))
        if not bad.any():
            return
        owner = np.repeat(np.arange(data.queries), np.diff(data.pool_starts))
        used = np.concatenate([data.query_items, data.pool_items])
        users = np.concatenate([np.arange(data.queries), owner])
        for position in _offenders(bad[used]):
            row = used[position]
            size = "large" if lengths[row] > 1 else "small"
            what = f"is too {size} for float32" if data.embeddings[row].any() else "is all zero"
            field_name = "the query itself" if position < data.queries else self.names.pool
            raise self.at_query(users[position]).error(
                f"row {row} of {self.embeddings_file} {what}, so its cosine is undefined", field_name
            )

    def splits(self) -> None:
        split = self.dataset.split
        for query in _offenders(~np.isin(split, [int(one) for one in Split])):
            raise self.at_query(query).error(
                f"is {split[query]}; expected {', '.join(f'{int(one)} ({one.name.lower()})' for one in Split)}", "split"
            )
        for one in (Split.TRAIN, Split.VAL):
            if not (split == int(one)).any():
                raise Place(self.file).error(f"no query is in the {one.name.lower()} split; at least 1 is needed")


def _offenders(flags: BoolArray) -> list[int]:
    """The first position that is flagged, as a list of at most one."""
    if not flags.any():
        return []
    return [int(flags.argmax())]

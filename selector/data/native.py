"""The native form: a folder of three Parquet tables and a manifest.

    queries.parquet     query_item int64, pool list<int64> (item ids), split int8 (values of `Split`)
    beams.parquet       query_item int64, picks list<int64> (pool positions), one float32 column per measured outcome.
                        Beams of a query stand together, queries in the order of queries.parquet. Where the beams were
                        measured here also `Note` columns: for people, never read by training
    embeddings.parquet  embedding fixed_size_list<float32>[D], row number = item id
    manifest.json       format, version, fingerprint, row counts, source and counts of the import. Where the beams were
                        measured here also how (`selector.data.collection`)

The manifest is written last, by renaming, and means that the folder is complete. Its fingerprint must equal that of
the values read. So an altered or half-written folder is refused. Notes are not part of the fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from selector.arrays import Float32Array, Int64Array
from selector.data.checks import check_dataset, check_embeddings
from selector.data.collection import CollectionRecord
from selector.data.columns import (
    array_of,
    check_columns,
    lists_of,
    owned,
    read_table,
    starts_of,
    to_disk,
    values_of,
)
from selector.data.dataset import Dataset, Outcome
from selector.data.json_text import read_json
from selector.data.place import Place, file_label
from selector.data.queries import COLUMNS as QUERY_COLUMNS
from selector.data.queries import QueryTable, queries_of, table_of
from selector.settings import FrozenModel, NonNegativeInt

FORMAT: Literal["demonstration-sweep"] = "demonstration-sweep"
QUERIES, BEAMS, EMBEDDINGS, MANIFEST = "queries.parquet", "beams.parquet", "embeddings.parquet", "manifest.json"
TABLES = (QUERIES, BEAMS, EMBEDDINGS)
PART_SUFFIX = ".part"


class Note(StrEnum):
    """Optional columns of beams.parquet, for people. Every beam has one, or none has."""

    PREDICTION = "prediction"  # what the model answered
    PROPOSER = "proposer"  # how the beam came about
    ROUND = "round"  # when it was measured, from 1


NOTE_TYPES = {Note.PREDICTION: pa.string(), Note.PROPOSER: pa.string(), Note.ROUND: pa.int64()}
Notes = Mapping[Note, Sequence[str] | Sequence[int]]


class RowCounts(FrozenModel):
    """Rows of the three tables."""

    queries: NonNegativeInt
    beams: NonNegativeInt
    items: NonNegativeInt


class Manifest(FrozenModel):
    """What `manifest.json` holds."""

    format: Literal["demonstration-sweep"]
    version: Literal[1]
    fingerprint: str
    rows: RowCounts
    source: str
    counts: dict[str, NonNegativeInt]
    collection: CollectionRecord | None = None


def is_native(folder: Path) -> bool:
    """Whether a folder holds any table of the native form (it may still be incomplete)."""
    return any((folder / name).exists() for name in TABLES)


def write_native(
    dataset: Dataset,
    folder: Path,
    source: str,
    notes: Notes | None = None,
    collection: CollectionRecord | None = None,
) -> Manifest:
    """Store a data set.

    Args:
        dataset: any that passes `check_dataset`.
        folder: missing or empty. Its parents are made.
        source: where the data came from, for people. One line.
        notes: one entry per beam, in the data set's order.
        collection: how the beams were measured, where they were measured here.

    Raises:
        DataError: the folder holds something, cannot be written, or the data set is not valid.
        ValueError: a note has another length than the beams.
    """
    place = Place(file_label(folder))
    check_dataset(dataset, place.file)
    for name, texts in (notes or {}).items():
        if len(texts) != len(dataset.beam_picks):
            raise ValueError(f"{len(texts)} texts of {name} for {len(dataset.beam_picks)} beams")
    manifest = Manifest(
        format=FORMAT,
        version=1,
        fingerprint=dataset.fingerprint(),
        rows=RowCounts(queries=dataset.queries, beams=len(dataset.beam_picks), items=len(dataset.embeddings)),
        source=source,
        counts=dict(dataset.counts),
        collection=collection,
    )
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise place.error("the folder is not empty; name a new or an empty folder")
        for file_name, table in _tables(dataset, notes or {}).items():
            _write_table(table, folder / file_name, written)
        _replace(folder / MANIFEST, manifest.model_dump_json(indent=2, exclude_none=True) + "\n")
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, (OSError, pa.ArrowException)):
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise place.error(f"cannot be written ({reason})") from None
        raise
    return manifest


def read_native(folder: Path) -> Dataset:
    """Read and check a native folder. The split is the one stored in it.

    Raises:
        DataError: no manifest (half-written), another format or version, missing tables, other columns or types, nulls,
            altered values, or anything that `check_dataset` refuses.
    """
    manifest = read_manifest(folder)
    queries, beams, items = (read_table(folder / name) for name in TABLES)
    for name, table, rows in (
        (QUERIES, queries, manifest.rows.queries),
        (BEAMS, beams, manifest.rows.beams),
        (EMBEDDINGS, items, manifest.rows.items),
    ):
        if table.num_rows != rows:
            raise Place(file_label(folder / name)).error(f"has {table.num_rows} rows, {MANIFEST} says {rows}")
    dataset = _dataset(folder, queries, beams, items, dict(manifest.counts))
    check_dataset(dataset, file_label(folder), embeddings_file=EMBEDDINGS)
    found = dataset.fingerprint()
    if found != manifest.fingerprint:
        raise Place(file_label(folder)).error(
            f"the data's fingerprint {found[:12]} is not the manifest's {manifest.fingerprint[:12]!a}: "
            "it was altered after it was written; import it again"
        )
    return dataset


def read_note(folder: Path, note: Note) -> list[Any] | None:
    """A column of notes, one entry per beam. None where the data has none.

    Raises:
        DataError: the table cannot be read, or the column has another type.
    """
    table = read_table(folder / BEAMS)
    if note.value not in table.column_names:
        return None
    check_columns(table, _beam_columns(table), Place(file_label(folder / BEAMS)))
    return list(array_of(table, note.value).to_pylist())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a native folder.

    Raises:
        DataError: missing (the folder was not written to its end), or not a manifest of this format and version.
    """
    path = folder / MANIFEST
    place = Place(file_label(path))
    if not path.exists():
        raise place.error("no such file: the folder was not written to its end; delete it and import again")
    content = place.read_object(read_json(path))
    if content.get("format") != FORMAT or content.get("version") != 1:
        raise place.error(
            f"format {content.get('format')!r:.40}, version {content.get('version')!r:.40} is not known; "
            f"expected {FORMAT!r}, version 1"
        )
    try:
        return Manifest.model_validate(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise place.error(ascii(first["msg"])[1:-1], name) from None


# --- Writing ---------------------------------------------------------------------------------------------------------


def _tables(dataset: Dataset, notes: Notes) -> dict[str, pa.Table]:
    owner = np.repeat(dataset.query_items, np.diff(dataset.beam_starts))
    starts = np.arange(len(dataset.beam_picks) + 1, dtype=np.int64) * dataset.picks
    picks = lists_of(dataset.beam_picks.reshape(-1), starts)
    columns: dict[str, pa.Array] = {"query_item": pa.array(owner), "picks": picks}
    columns |= {
        outcome.value: pa.array(dataset.outcomes[outcome]) for outcome in Outcome if outcome in dataset.outcomes
    }
    columns |= {note.value: pa.array(notes[note], NOTE_TYPES[note]) for note in Note if note in notes}
    queries = QueryTable(dataset.query_items, dataset.pool_items, dataset.pool_starts, dataset.split)
    flat = pa.array(np.ascontiguousarray(dataset.embeddings).reshape(-1))
    return {
        QUERIES: table_of(queries),
        BEAMS: pa.table(columns),
        EMBEDDINGS: pa.table({"embedding": pa.FixedSizeListArray.from_arrays(flat, dataset.width)}),
    }


def _write_table(table: pa.Table, path: Path, written: list[Path]) -> None:
    # Floats of unit vectors hardly compress, and dictionaries over them only cost time.
    dense = path.name == EMBEDDINGS
    with path.open("xb") as file:  # exclusive: of two imports into one folder the second fails
        written.append(path)
        pq.write_table(table, file, compression="none" if dense else "zstd", use_dictionary=not dense)
        to_disk(file)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            to_disk(file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# --- Reading ---------------------------------------------------------------------------------------------------------


def _beam_columns(beams: pa.Table) -> dict[str, pa.DataType]:
    """The columns that beams.parquet may have, as far as it has them."""
    optional = {outcome.value: pa.float32() for outcome in Outcome} | {note.value: NOTE_TYPES[note] for note in Note}
    found = {name: kind for name, kind in optional.items() if name in beams.column_names}
    return {"query_item": pa.int64(), "picks": pa.list_(pa.int64())} | found


def _dataset(folder: Path, queries: pa.Table, beams: pa.Table, items: pa.Table, counts: dict[str, int]) -> Dataset:
    files = {name: Place(file_label(folder / name)) for name in TABLES}
    check_columns(queries, QUERY_COLUMNS, files[QUERIES])
    check_columns(beams, _beam_columns(beams), files[BEAMS])
    asked = queries_of(queries)
    picks = array_of(beams, "picks")
    beam_starts = _beam_starts(asked.query_items, values_of(beams, "query_item"), files[BEAMS])
    width = _pick_count(picks, values_of(beams, "query_item"), beam_starts, files[BEAMS])
    return Dataset(
        embeddings=_embeddings(items, files[EMBEDDINGS]),
        query_items=asked.query_items,
        pool_items=asked.pool_items,
        pool_starts=asked.pool_starts,
        beam_picks=owned(picks.flatten()).reshape(beams.num_rows, width),
        beam_starts=beam_starts,
        outcomes={outcome: values_of(beams, outcome.value) for outcome in Outcome if outcome in beams.column_names},
        split=asked.split,
        counts=counts,
    )


def _beam_starts(query_items: Int64Array, owners: Int64Array, place: Place) -> Int64Array:
    """Offsets of each query's beams. Refuses beams of unknown queries and beams out of order."""
    order = np.argsort(query_items, kind="stable")
    found = np.minimum(np.searchsorted(query_items[order], owners), max(len(query_items) - 1, 0))
    index = order[found] if len(query_items) else found
    unknown = query_items[index] != owners if len(query_items) else np.ones(len(owners), dtype=bool)
    if unknown.any():
        raise place.error(f"query {owners[unknown.argmax()]} is not in {QUERIES}", "query_item")
    backwards = index[1:] < index[:-1]
    if backwards.any():
        item = owners[1:][backwards.argmax()]
        raise Place(place.file, int(item)).error(
            f"its beams do not stand together in the order of {QUERIES}", "query_item"
        )
    return starts_of(np.bincount(index, minlength=len(query_items)))


def _pick_count(picks: pa.ListArray, owners: Int64Array, beam_starts: Int64Array, place: Place) -> int:
    lengths = owned(picks.value_lengths())
    if not len(lengths):
        raise place.error("holds no beam")
    other = lengths != lengths[0]
    if other.any():
        row = int(other.argmax())
        number = row - int(beam_starts[np.searchsorted(beam_starts, row, side="right") - 1])
        raise Place(place.file, int(owners[row]), number).error(
            f"has {lengths[row]} picks, but the first beam has {lengths[0]}; all beams must pick the same number",
            "picks",
        )
    return int(lengths[0])


def _embeddings(table: pa.Table, place: Place) -> Float32Array:
    kind = table.schema.field("embedding").type if table.column_names == ["embedding"] else None
    if kind is not None and not pa.types.is_fixed_size_list(kind):
        raise place.error(f"has type {kind}; expected fixed_size_list<float>", "embedding")
    width = 0 if kind is None else kind.list_size
    check_columns(table, {"embedding": pa.list_(pa.float32(), width)}, place)
    found = owned(array_of(table, "embedding").flatten()).reshape(table.num_rows, width)
    check_embeddings(found, place.file)
    return found

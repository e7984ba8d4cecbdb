"""The native form: a folder of three Parquet tables and a manifest.

    queries.parquet     query_item int64, pool list<int64> (item ids), split int8 (values of `Split`)
    beams.parquet       query_item int64, picks list<int64> (pool positions), one float32 column per measured outcome;
                        beams of a query stand together, queries in the order of queries.parquet
    embeddings.parquet  embedding fixed_size_list<float32>[D]; row number = item id
    manifest.json       format, version, fingerprint, row counts, source and counts of the import

The manifest is written last, by renaming, and means that the folder is complete; its fingerprint must equal that of
the values read, so an altered or half-written folder is refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from selector.data.checks import check_dataset, check_embeddings
from selector.data.dataset import Dataset, FloatArray, IntArray, Outcome
from selector.data.json_text import check_file, read_json
from selector.data.place import Place, file_label
from selector.settings import NonNegativeInt, Settings

NumberArray = np.ndarray[Any, np.dtype[Any]]  # of the type that the column's check has made sure of

FORMAT: Literal["demonstration-sweep"] = "demonstration-sweep"
QUERIES, BEAMS, EMBEDDINGS, MANIFEST = "queries.parquet", "beams.parquet", "embeddings.parquet", "manifest.json"
TABLES = (QUERIES, BEAMS, EMBEDDINGS)
PART_SUFFIX = ".part"


class RowCounts(Settings):
    """Rows of the three tables."""

    queries: NonNegativeInt
    beams: NonNegativeInt
    items: NonNegativeInt


class Manifest(Settings):
    """What `manifest.json` holds."""

    format: Literal["demonstration-sweep"]
    version: Literal[1]
    fingerprint: str
    rows: RowCounts
    source: str
    counts: dict[str, NonNegativeInt]


def is_native(folder: Path) -> bool:
    """Whether a folder holds any table of the native form (it may still be incomplete)."""
    return any((folder / name).exists() for name in TABLES)


def write_native(dataset: Dataset, folder: Path, source: str) -> Manifest:
    """Store a data set.

    Args:
        dataset: any that passes `check_dataset`.
        folder: missing or empty; its parents are made.
        source: where the data came from, for people; one line.

    Raises:
        DataError: the folder holds something, cannot be written, or the data set is not valid.
    """
    place = Place(file_label(folder))
    check_dataset(dataset, place.file)
    manifest = Manifest(
        format=FORMAT,
        version=1,
        fingerprint=dataset.fingerprint(),
        rows=RowCounts(queries=dataset.queries, beams=len(dataset.beam_picks), items=len(dataset.embeddings)),
        source=source,
        counts=dict(dataset.counts),
    )
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise place.error("the folder is not empty; name a new or an empty folder")
        for name, table in _tables(dataset).items():
            _write_table(table, folder / name, written)
        _replace(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, (OSError, pa.ArrowException)):
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise place.error(f"cannot be written ({reason})") from None
        raise
    return manifest


def read_native(folder: Path) -> Dataset:
    """Read and check a native folder; the split is the one stored in it.

    Raises:
        DataError: no manifest (half-written), another format or version, missing tables, other columns or types, nulls,
            altered values, or anything that `check_dataset` refuses.
    """
    manifest = _read_manifest(folder)
    queries, beams, items = (_read_table(folder / name) for name in TABLES)
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


# --- Writing ---------------------------------------------------------------------------------------------------------


def _tables(dataset: Dataset) -> dict[str, pa.Table]:
    owner = np.repeat(dataset.query_items, np.diff(dataset.beam_starts))
    columns: dict[str, pa.Array] = {"query_item": pa.array(owner), "picks": _lists(dataset.beam_picks)}
    columns |= {
        outcome.value: pa.array(dataset.outcomes[outcome]) for outcome in Outcome if outcome in dataset.outcomes
    }
    pools = pa.LargeListArray.from_arrays(dataset.pool_starts, dataset.pool_items).cast(pa.list_(pa.int64()))
    flat = pa.array(np.ascontiguousarray(dataset.embeddings).reshape(-1))
    return {
        QUERIES: pa.table(
            {"query_item": pa.array(dataset.query_items), "pool": pools, "split": pa.array(dataset.split, pa.int8())}
        ),
        BEAMS: pa.table(columns),
        EMBEDDINGS: pa.table({"embedding": pa.FixedSizeListArray.from_arrays(flat, dataset.width)}),
    }


def _lists(rows: IntArray) -> pa.ListArray:
    """An int64 [N, S] matrix as list<int64>[N]."""
    starts = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    return pa.LargeListArray.from_arrays(starts, np.ascontiguousarray(rows).reshape(-1)).cast(pa.list_(pa.int64()))


def _write_table(table: pa.Table, path: Path, written: list[Path]) -> None:
    # Floats of unit vectors hardly compress, and dictionaries over them only cost time.
    dense = path.name == EMBEDDINGS
    with path.open("xb") as file:  # exclusive: of two imports into one folder the second fails
        written.append(path)
        pq.write_table(table, file, compression="none" if dense else "zstd", use_dictionary=not dense)
        _to_disk(file)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            _to_disk(file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _to_disk(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


# --- Reading ---------------------------------------------------------------------------------------------------------


def _read_manifest(folder: Path) -> Manifest:
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


def _read_table(path: Path) -> pa.Table:
    check_file(path)
    try:
        with path.open("rb") as file:
            return pq.read_table(file).combine_chunks()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Place(file_label(path)).error(f"is damaged or not Parquet ({type(error).__name__})") from None


def _dataset(folder: Path, queries: pa.Table, beams: pa.Table, items: pa.Table, counts: dict[str, int]) -> Dataset:
    files = {name: Place(file_label(folder / name)) for name in TABLES}
    known = {outcome.value: pa.float32() for outcome in Outcome if outcome.value in beams.column_names}
    ints = pa.list_(pa.int64())
    _check_columns(queries, {"query_item": pa.int64(), "pool": ints, "split": pa.int8()}, files[QUERIES])
    _check_columns(beams, {"query_item": pa.int64(), "picks": ints} | known, files[BEAMS])
    query_items = _values(queries, "query_item")
    pools, picks = _array(queries, "pool"), _array(beams, "picks")
    beam_starts = _beam_starts(query_items, _values(beams, "query_item"), files[BEAMS])
    width = _pick_count(picks, _values(beams, "query_item"), beam_starts, files[BEAMS])
    return Dataset(
        embeddings=_embeddings(items, files[EMBEDDINGS]),
        query_items=query_items,
        pool_items=_owned(pools.flatten()),
        pool_starts=_starts(_owned(pools.value_lengths())),
        beam_picks=_owned(picks.flatten()).reshape(beams.num_rows, width),
        beam_starts=beam_starts,
        outcomes={outcome: _values(beams, outcome.value) for outcome in Outcome if outcome.value in known},
        split=_values(queries, "split"),
        counts=counts,
    )


def _check_columns(table: pa.Table, expected: dict[str, pa.DataType], place: Place) -> None:
    if sorted(table.column_names) != sorted(expected):
        found = ", ".join(ascii(name)[1:-1] for name in table.column_names) or "none"
        raise place.error(f"has the columns {found}; expected {', '.join(expected)}")
    for name, kind in expected.items():
        found_kind = table.schema.field(name).type
        if found_kind != kind:
            raise place.error(f"has type {found_kind}; expected {kind}", name)
        array = _array(table, name)
        inner = array.flatten().null_count if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) else 0
        if array.null_count or inner:
            raise place.error("holds nulls; expected a value in every row", name)


def _beam_starts(query_items: IntArray, owners: IntArray, place: Place) -> IntArray:
    """Offsets of each query's beams; refuses beams of unknown queries and beams out of order."""
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
    return _starts(np.bincount(index, minlength=len(query_items)))


def _pick_count(picks: pa.ListArray, owners: IntArray, beam_starts: IntArray, place: Place) -> int:
    lengths = _owned(picks.value_lengths())
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


def _embeddings(table: pa.Table, place: Place) -> FloatArray:
    kind = table.schema.field("embedding").type if table.column_names == ["embedding"] else None
    if kind is not None and not pa.types.is_fixed_size_list(kind):
        raise place.error(f"has type {kind}; expected fixed_size_list<float>", "embedding")
    width = 0 if kind is None else kind.list_size
    _check_columns(table, {"embedding": pa.list_(pa.float32(), width)}, place)
    found = _owned(_array(table, "embedding").flatten()).reshape(table.num_rows, width)
    check_embeddings(found, place.file)
    return found


def _array(table: pa.Table, name: str) -> pa.Array:
    """One contiguous Arrow array of a table's column."""
    column = table.column(name)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _values(table: pa.Table, name: str) -> NumberArray:
    return _owned(_array(table, name))


def _owned(array: pa.Array) -> NumberArray:
    """A numpy copy that does not keep the table alive, writable as the other readers' arrays are."""
    return np.array(array.to_numpy(zero_copy_only=False), copy=True)


def _starts(lengths: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

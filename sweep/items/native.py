"""Items in native form: one Parquet file, `items.parquet`, in a folder of its own or beside the images.

    question       string
    answers        list<string>, empty for questions without annotations
    image_id       int64
    question_id    int64
    image_bytes    binary, the encoded image, or instead of it
    image_path     string, relative to the file's folder and inside of it (links in it are followed)
    question_type  string, optional          answer_type  string, optional

Write files with `image_bytes` in row groups of 64 rows, because reading one image reads its row group.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selector.data.json_text import check_file
from selector.data.place import Place, file_label, quote
from sweep.items.images import IMAGE_COLUMN, ImageFiles, ImageRows, group_starts, open_parquet
from sweep.items.table import ItemColumns, ItemTable

ITEMS_FILE = "items.parquet"
PATH_COLUMN = "image_path"
MAX_GROUP_BYTES = 2**30
REQUIRED = {
    "question": pa.string(),
    "answers": pa.list_(pa.string()),
    "image_id": pa.int64(),
    "question_id": pa.int64(),
}
OPTIONAL = {"question_type": pa.string(), "answer_type": pa.string()}
IMAGE_TYPES = {IMAGE_COLUMN: pa.binary(), PATH_COLUMN: pa.string()}


def read_items(file: Path) -> ItemTable:
    """Open items in native form. Columns may have equivalent types (`large_string`, `int32`, ...) but no other names.

    Raises:
        DataError: a missing or damaged file, other columns or types, nulls, no rows, image paths that leave the
            folder, row groups with more than 1 GiB of images.
    """
    place = Place(file_label(file))
    check_file(file)
    try:
        with file.open("rb") as stream:
            reader = open_parquet(stream)
            schema, metadata = reader.schema_arrow, reader.metadata
            kind = _check_columns(schema, place)
            names = [name for name in schema.names if name != IMAGE_COLUMN]
            # A process that had read damaged files in several threads was once aborted by pyarrow at its end.
            table = reader.read(columns=names, use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise place.error(f"is damaged or not Parquet ({type(error).__name__})") from None
    if not table.num_rows:
        raise place.error("holds no items")
    columns = {name: _column(table, name, place) for name in names}
    texts = ItemColumns(
        questions=columns["question"],
        answers=columns["answers"],
        image_ids=columns["image_id"],
        question_ids=columns["question_id"],
        question_types=columns.get("question_type"),
        answer_types=columns.get("answer_type"),
    )
    if kind == IMAGE_COLUMN:
        return ItemTable(texts, ImageRows(file.absolute(), group_starts(metadata), _check_groups(metadata, place)))
    return ItemTable(texts, _image_files(columns[PATH_COLUMN], texts.image_ids, file, place))


def _check_columns(schema: pa.Schema, place: Place) -> str:
    """Refuse other columns and types. Returns the image column's name."""
    kinds = [name for name in IMAGE_TYPES if name in schema.names]
    known = {*REQUIRED, *OPTIONAL, *kinds}
    if sorted(schema.names) != sorted(known & set(schema.names)) or not set(REQUIRED) <= set(schema.names):
        found = ", ".join(ascii(name)[1:-1] for name in schema.names) or "none"
        raise place.error(
            f"has the columns {found}; expected {', '.join(REQUIRED)}, {IMAGE_COLUMN} or {PATH_COLUMN}, "
            f"and if wanted {', '.join(OPTIONAL)}"
        )
    if len(kinds) != 1:
        found = "both" if kinds else "neither"
        raise place.error(f"has {found} of {IMAGE_COLUMN} and {PATH_COLUMN}; expected one of them")
    for name, kind in (REQUIRED | OPTIONAL | IMAGE_TYPES).items():
        if name in schema.names and not _equivalent(schema.field(name).type, kind):
            raise place.error(f"has type {schema.field(name).type}; expected {kind}", name)
    return kinds[0]


def _equivalent(found: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_list(expected):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
        return is_list and _equivalent(found.value_type, expected.value_type)
    if pa.types.is_integer(expected):
        return bool(pa.types.is_integer(found))
    if pa.types.is_binary(expected):
        return bool(pa.types.is_binary(found) or pa.types.is_large_binary(found))
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _column(table: pa.Table, name: str, place: Place) -> pa.Array:
    """One contiguous array of the expected type. Nulls only where they mean that there is nothing."""
    kind = (REQUIRED | OPTIONAL | IMAGE_TYPES)[name]
    try:
        array = table.column(name).cast(kind).combine_chunks()
    except pa.ArrowInvalid:
        raise place.error(f"holds values that do not fit {kind}", name) from None
    nulls = array.null_count + (array.flatten().null_count if pa.types.is_list(kind) else 0)
    if nulls and name in REQUIRED:
        raise place.error("holds nulls; expected a value in every row", name)
    if name == "question":
        empty = next((row for row, text in enumerate(array.to_pylist()) if not text.strip()), None)
        if empty is not None:
            raise place.error("is empty; expected a text", f"question of row {empty}")
    return array


def _check_groups(metadata: pq.FileMetaData, place: Place) -> int:
    """Refuse row groups that cannot be held. Returns the number of rows without an image."""
    number = metadata.schema.names.index(IMAGE_COLUMN) if IMAGE_COLUMN in metadata.schema.names else None
    missing = 0
    for group in range(metadata.num_row_groups):
        chunks = [metadata.row_group(group).column(number)] if number is not None else []
        for chunk in chunks:
            if chunk.total_uncompressed_size > MAX_GROUP_BYTES:
                raise place.error(
                    f"row group {group} holds {chunk.total_uncompressed_size / 2**30:.1f} GiB of images, and reading "
                    f"one image reads all of them; write the file in row groups of 64 rows"
                )
            if chunk.physical_type != metadata.schema.column(number).physical_type:
                raise place.error(
                    f"damaged: its footer contradicts itself on the type of row group {group}", IMAGE_COLUMN
                )
            # Only now: of a column of another type pyarrow (26.0.1) ends the process over its statistics.
            if chunk.is_stats_set and chunk.statistics.has_null_count:
                missing += chunk.statistics.null_count
    return missing


def _image_files(paths: pa.StringArray, image_ids: pa.Int64Array, file: Path, place: Place) -> ImageFiles:
    folder = os.fsencode(file.absolute().parent) + b"/"
    found: list[bytes | None] = []
    for row, path in enumerate(paths.to_pylist()):
        if path is not None:
            _check_path(path, row, place)
        found.append(None if path is None else folder + path.encode())
    return ImageFiles(pa.array(found, pa.binary()), image_ids, (file_label(file), f"{PATH_COLUMN} is null"))


def _check_path(path: str, row: int, place: Place) -> None:
    if not path or "\0" in path or path.startswith("/") or ".." in path.split("/"):
        raise place.error(
            f"{quote(path)} is not a path inside of the folder; expected one relative to it, without ..",
            f"{PATH_COLUMN} of row {row}",
        )

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
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from selector.data.json_text import check_file
from selector.data.place import Place, file_label, quote
from selector.parquet import ParquetError, ParquetReader, RowGroup
from sweep.items.images import IMAGE_COLUMN, MAX_GROUP_BYTES, ImageFiles, ImageRows, group_starts
from sweep.items.table import ItemColumns, ItemTable

ITEMS_FILE = "items.parquet"
PATH_COLUMN = "image_path"
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
        reader = ParquetReader(file)
        kind = _check_columns(reader.schema, place)
        names = [name for name in reader.schema.names if name != IMAGE_COLUMN]
        table = reader.read(names)
    except ParquetError as error:
        raise place.error(str(error)) from None
    except OSError as error:
        raise place.error(f"cannot be read ({error.strerror or type(error).__name__})") from None
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
        return ItemTable(
            texts, ImageRows(file.absolute(), group_starts(reader.groups), _check_groups(reader.groups, place))
        )
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


def _check_groups(groups: Sequence[RowGroup], place: Place) -> int:
    """Refuse row groups that cannot be held. Returns the number of rows without an image."""
    for number, group in enumerate(groups):
        size = group.sizes.get(IMAGE_COLUMN, 0)
        if size > MAX_GROUP_BYTES:
            raise place.error(
                f"row group {number} holds {size / 2**30:.1f} GiB of images, and reading one image reads all of them; "
                "write the file in row groups of 64 rows"
            )
    return sum(group.nulls.get(IMAGE_COLUMN) or 0 for group in groups)


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

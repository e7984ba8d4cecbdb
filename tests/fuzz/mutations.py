"""Mutations of files and of what is in them. `random` is Python's own, or one whose every draw hypothesis makes."""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

Alter = Callable[[bytes, Random], bytes]

EDGES = (0, 1, 0x7F, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
NUMBERS = (0, -1, 1, 2, 3, 255, 10**5, 2**31, 2**53 + 1, 2**63, 10**30, 1e308, 0.5, -0.0, 5e-324, 1e-9)
TEXTS = ("../../x", "/etc", "\0")
COLUMNS = (
    pa.array([1, 2, None]),
    pa.array([1.5, float("nan"), 3.0]),
    pa.array([[1], [], None], pa.list_(pa.int64())),
    pa.array([[1, 2**40], [3], [-1]], pa.list_(pa.int64())),
    pa.array([[1.0] * 4] * 3, pa.list_(pa.float32(), 4)),
    pa.array([b"x", b"", None]),
    pa.array(["a", "", None]),
    pa.array([{"a": 1}, None, {"a": 2}]),
    pa.array([None, None, None]),
    pa.array(["a", "b", "a"]).dictionary_encode(),
    pa.array([True, False, None]),
    pa.array([], pa.int64()),
)


def mutated_bytes(base: bytes, random: Random) -> bytes:
    """`base` after one to six cuts, insertions, repetitions, flips and edge values in the place of integers."""
    content = bytearray(base)
    for _ in range(random.randint(1, 6)):
        place = random.randint(0, max(0, len(content) - 1))
        length = random.choice((1, 2, 4, 8, 64, 1000))
        kind = random.choice(("flip", "edge", "cut", "insert", "repeat", "swap", "end"))
        if kind == "flip" and content:
            content[place] ^= 1 << random.randint(0, 7)
        elif kind == "edge":
            width = random.choice((1, 2, 4, 8))
            content[place : place + width] = (random.choice(EDGES) % 256**width).to_bytes(width, "little")
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "insert":
            content[place:place] = random.randbytes(random.randint(0, length))
        elif kind == "repeat":
            content[place:place] = content[place : place + length]
        elif kind == "swap":
            other = random.randint(0, max(0, len(content) - 1))
            content[place : place + length], content[other : other + length] = (
                content[other : other + length],
                content[place : place + length],
            )
        else:
            del content[place:]
    return bytes(content)


# Values -------------------------------------------------------------------------------------------------------------


def any_value(random: Random, depth: int = 2) -> Any:
    """A JSON value, mostly a scalar at an edge; NaN and infinity among them."""
    kind = random.choice(
        ("number", "number", "text", "other", "list", "dict") if depth else ("number", "text", "other")
    )
    if kind == "number":
        return random.choice((*NUMBERS, 10**400, random.randint(-5, 5), random.uniform(-2, 2)))
    if kind == "text":
        return random.choice(
            (*TEXTS, "", "x", "\ud800", "[/x]", "".join(chr(random.randint(1, 0x2FF)) for _ in range(4)))
        )
    if kind == "other":
        return random.choice((None, True, False, float("nan"), float("inf"), -float("inf")))
    inner = [any_value(random, depth - 1) for _ in range(random.randint(0, 3))]
    return inner if kind == "list" else {random.choice(("", "a", "type")): value for value in inner}


def paths_into(value: Any) -> list[tuple[Any, ...]]:
    """Every place of a JSON value but the whole."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in steps for path in [(key,), *((key, *rest) for rest in paths_into(inner))]]


def altered_value(base: Any, random: Random) -> Any:
    """A JSON value with one to three places replaced, removed, doubled, wrapped or copied from elsewhere."""
    content = copy.deepcopy(base)
    for _ in range(random.randint(1, 3)):
        places = paths_into(content)
        if not places:
            return content
        *way, last = random.choice(places)
        target = content
        for step in way:
            target = target[step]
        kind = random.choice(("replace", "remove", "wrap", "copy", "rename"))
        if kind == "replace":
            target[last] = any_value(random)
        elif kind == "remove":
            del target[last]
        elif kind == "wrap":
            target[last] = random.choice(([target[last]], {"x": target[last]}, str(target[last])))
        elif kind == "copy":
            source = content
            for step in random.choice(paths_into(content)):
                source = source[step]
            target[last] = copy.deepcopy(source)
        elif isinstance(target, dict):
            target[random.choice(("", "x", "type", "format"))] = target.pop(last)
    return content


# Files, altered within their form. Raise ValueError where the content has not the form -------------------------------


def altered_json(content: bytes, random: Random) -> bytes:
    return json.dumps(altered_value(json.loads(content), random)).encode()


def altered_yaml(content: bytes, random: Random) -> bytes:
    try:
        value = altered_value(yaml.load(content, yaml.CSafeLoader), random)
        return yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True).encode(errors="replace")
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(error) from None


def header_of(raw: bytes) -> tuple[Any, bytes]:
    """The header of a safetensors file and the data behind it."""
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


def with_header(header: Any, body: bytes) -> bytes:
    """The inverse of `header_of`."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def altered_safetensors(content: bytes, random: Random) -> bytes:
    header, body = header_of(content)
    return with_header(altered_value(header, random), body)


def altered_zip(content: bytes, random: Random) -> bytes:
    """One member mutated, with the checksums of an archive that was never touched."""
    target = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as archive:
            names = source.namelist()
            chosen = random.choice(names)
            for name in names:
                raw = source.read(name)
                archive.writestr(name, mutated_bytes(raw, random) if name == chosen else raw)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
        OSError,
        RuntimeError,
        IndexError,
        struct.error,
    ) as error:
        raise ValueError(error) from None
    return target.getvalue()


def altered_table(table: pa.Table, random: Random) -> pa.Table:
    """Rows dropped, doubled and shuffled, or a column of the right name with anything in it."""
    if random.random() < 0.5:
        rows = [random.randint(0, len(table) - 1) for _ in range(random.randint(0, 40))] if len(table) else []
        return table.take(pa.array(rows, pa.int64()))
    column = random.choice(COLUMNS)
    where = random.randint(0, table.num_columns - 1)
    values = pa.chunked_array([column] * (len(table) // 3 + 1)).slice(0, len(table)) if len(column) else column
    names = table.column_names
    columns = {name: values if number == where else table.column(number) for number, name in enumerate(names)}
    return pa.table({name: found.slice(0, len(values)) for name, found in columns.items()})


def altered_cells(table: pa.Table, random: Random) -> pa.Table:
    """Some cells replaced, in columns that keep their type."""
    where = random.randint(0, table.num_columns - 1)
    cells = table.column(where).to_pylist()
    for _ in range(random.randint(1, 3) if cells else 0):
        place = random.randint(0, len(cells) - 1)
        if isinstance(cells[place], list):
            cells[place] = altered_value(cells[place], random)
        else:
            cells[place] = random.choice((any_value(random, 0), random.choice(cells)))
    field = table.schema.field(where)
    return table.set_column(where, field, pa.array(cells, field.type))


def altered_parquet(content: bytes, random: Random) -> bytes:
    try:
        table = pq.read_table(io.BytesIO(content))
        if not table.num_columns:
            raise ValueError("no columns")
        found = random.choice((altered_table, altered_cells))(table, random)
        target = io.BytesIO()
        pq.write_table(found, target)
    except (pa.ArrowException, OSError, OverflowError, TypeError) as error:
        raise ValueError(error) from None
    return target.getvalue()


def mutated_file(content: bytes, random: Random, alter: Alter) -> bytes:
    """As a file of its form where it still is one, half of the times; else as bytes."""
    if random.random() < 0.5:
        with suppress(ValueError, RecursionError):
            return alter(content, random)
    return mutated_bytes(content, random)

"""Reads and writes safetensors files with torch alone, as an exported selector is used where only torch is installed.

What is written equals what the `safetensors` library writes, to the byte. Format: 8 bytes little-endian header length,
a JSON header of name -> dtype, shape, data_offsets, then the data (specification: the safetensors project's format
page).
"""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from selector.errors import CheckpointError, first_line
from selector.files import lfs_problem

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LARGEST_HEADER = 100_000_000
_MOST_DIMENSIONS = 16


def read_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU, each owning its memory.

    Raises:
        CheckpointError: the file is missing, shorter than its header says, or not in the format.
    """
    try:
        raw = bytearray(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
    if problem := lfs_problem(raw):
        raise CheckpointError(f"{file}: {problem}")
    if len(raw) < 8:
        raise CheckpointError(f"{file}: not a safetensors file ({len(raw)} bytes)")
    size = int.from_bytes(raw[:8], "little")
    if size > min(len(raw) - 8, _LARGEST_HEADER):
        raise CheckpointError(f"{file}: truncated or not a safetensors file (header of {size} bytes announced)")
    try:
        header = json.loads(raw[8 : 8 + size].decode("utf-8"))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return _tensors(raw, 8 + size, entries)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(f"{file}: not a valid safetensors file ({first_line(error)[:200]})") from error


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file of dense tensors of one type, in the order of their names."""
    header, parts, at = {}, [], 0
    names = {dtype: name for name, dtype in _DTYPES.items()}
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        size = value.numel() * value.element_size()
        header[name] = {"dtype": names[value.dtype], "shape": [*value.shape], "data_offsets": [at, at + size]}
        parts.append(ctypes.string_at(value.data_ptr(), size) if size else b"")
        at += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _tensors(raw: bytearray, base: int, entries: dict[str, dict[str, object]]) -> dict[str, Tensor]:
    """Tensors do not overlap: a small file whose entries all name the same bytes would fill the memory."""
    found: dict[str, Tensor] = {}
    claimed = 0
    for name, entry in entries.items():
        found[name] = _tensor(raw, base, entry)
        claimed += found[name].numel() * found[name].element_size()
        if claimed > len(raw) - base:
            raise ValueError(f"its tensors claim {claimed} bytes and more, more than the {len(raw) - base} it holds")
    return found


def _tensor(raw: bytearray, base: int, entry: dict[str, object]) -> Tensor:
    dtype = _DTYPES.get(str(entry["dtype"]))
    if dtype is None:
        raise ValueError(f"dtype {entry['dtype']} is not one of {', '.join(_DTYPES)}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2):
        raise ValueError("shape or data_offsets is not a list")
    if not all(type(number) is int and number >= 0 for number in [*shape, *offsets]):
        raise ValueError("shape or data_offsets holds something else than whole numbers")
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor of {len(shape)} dimensions")
    start, stop = offsets
    count = math.prod(shape)
    if stop - start != count * dtype.itemsize or base + stop > len(raw):
        raise ValueError(f"data_offsets {offsets} do not fit shape {shape} or the file's length")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    values = torch.frombuffer(raw, dtype=torch.uint8, count=stop - start, offset=base + start).clone()
    return values.view(dtype).view(shape)

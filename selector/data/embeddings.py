"""Embedding tables as users store them: one float tensor saved by torch, or one numpy array. Row = item id.

A file of torch may hold a dictionary from row to vector instead, as feature caches of earlier tools do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from selector.arrays import Float32Array
from selector.data.checks import check_embeddings
from selector.data.json_text import check_file
from selector.data.place import Place, file_label
from selector.errors import DataError
from selector.torch_file import torch_problem

TORCH_SUFFIXES = (".pth", ".pt")
NUMPY_SUFFIX = ".npy"
_DIGITS = 12  # of a row number that is a text
SUFFIXES = (*TORCH_SUFFIXES, NUMPY_SUFFIX)


def load_embeddings(path: Path) -> Float32Array:
    """Read an embedding table.

    Args:
        path: `.pth` or `.pt` (from `torch.save`: a 2-D tensor of any float type, or a dictionary of vectors whose keys
            are the rows 0, 1, ... as numbers or as text) or `.npy` (a 2-D float array).

    Returns:
        float32 [M, D], C-contiguous, finite, D >= 1.

    Raises:
        DataError: another suffix, a missing or damaged file, another content than one table, NaN or infinity.
    """
    place = Place(file_label(path))
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise place.error(f"embeddings end in {', '.join(SUFFIXES)}, found {suffix or 'no suffix'!r}")
    check_file(path)
    table = _load_torch(path, place) if suffix in TORCH_SUFFIXES else _load_numpy(path, place)
    check_embeddings(table, place.file)
    return table


def unit_rows(embeddings: Float32Array, out: Float32Array | None = None) -> Float32Array:
    """Rows of unit length, float32 [M, D]. Zero rows stay zero. `out` may be `embeddings` itself, to save memory."""
    lengths = np.sqrt(np.einsum("md,md->m", embeddings, embeddings, dtype=np.float64))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    with np.errstate(over="ignore", invalid="ignore"):  # lengths that the data's checks refuse where they are used
        found: Float32Array = np.multiply(embeddings, scale[:, None].astype(np.float32), out=out, dtype=np.float32)
    return found


def _load_torch(path: Path, place: Place) -> Float32Array:
    import torch  # late: a space is read, and a run looked at, without it

    try:
        if problem := torch_problem(path):
            raise place.error(problem)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except (
        Exception
    ) as error:  # damaged files raise almost anything: RuntimeError, EOFError, KeyError, struct.error, ...
        if "Weights only load failed" in str(error):
            text = (
                "is damaged, or a pickle of Python objects, which can run code and is not loaded; save one plain tensor"
            )
        else:
            text = f"is not a file of torch.save, or damaged ({type(error).__name__})"
        raise place.error(text) from None
    if isinstance(content, dict):
        content = _stacked(content, place)
    if not isinstance(content, torch.Tensor):
        raise place.error(f"holds a {type(content).__name__}; expected one tensor [items, width]")
    tensor = content.detach()
    if not tensor.is_floating_point() or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise place.error(f"holds a {tensor.layout} tensor of {tensor.dtype}; expected a dense tensor of floats")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise place.error(
            f"holds a tensor of shape {list(tensor.shape)} over {tensor.untyped_storage().nbytes():,} bytes; expected "
            "values of its own for every row: save tensor.contiguous()"
        )
    try:
        table: Float32Array = tensor.to(torch.float32).contiguous().numpy()
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise place.error(f"a tensor of {tensor.dtype} cannot become float32 ({type(error).__name__})") from None
    return table


def _stacked(vectors: dict[Any, Any], place: Place) -> Any:  # noqa: ANN401 (a tensor, which is imported late)
    """The vectors of a dictionary in the order of their rows, as one tensor [items, width]."""
    import torch  # as above

    rows = {_row(key): vector for key, vector in vectors.items()}
    if not rows or None in rows or len(rows) != len(vectors):
        keys = ", ".join(ascii(key)[:40] for key in list(vectors)[:5])
        raise place.error(
            f"holds a dictionary (keys {keys}); expected one tensor [items, width], or a dictionary from each row "
            "number to its vector"
        )
    lost = next((row for row in range(len(rows)) if row not in rows), None)
    if lost is not None:
        raise place.error(f"holds a dictionary of {len(rows)} rows without row {lost}; expected every row from 0 on")
    found = [rows[row] for row in range(len(rows))]
    for row, vector in enumerate(found):
        fits = isinstance(vector, torch.Tensor) and vector.is_floating_point() and vector.layout is torch.strided
        if not fits or vector.device.type != "cpu" or vector.dim() not in (1, 2) or vector.shape[:-1].numel() != 1:
            what = (
                f"tensor of shape {list(vector.shape)}" if isinstance(vector, torch.Tensor) else type(vector).__name__
            )
            raise place.error(f"row {row} is a {what}; expected a dense vector of floats")
        if vector.numel() * vector.element_size() > vector.untyped_storage().nbytes():
            raise place.error(f"row {row} has more numbers than the file has values for it; save vector.contiguous()")
    widths = sorted({vector.shape[-1] for vector in found})
    if len(widths) > 1:
        raise place.error(f"holds vectors of different widths ({widths[0]} and {widths[-1]}); expected one width")
    return torch.stack([vector.detach().reshape(-1).to(torch.float32) for vector in found])


def _row(key: object) -> int | None:
    """The row that a key names: a whole number, or its digits."""
    if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < _DIGITS:
        return int(key)
    return key if type(key) is int and key >= 0 else None


def _load_numpy(path: Path, place: Place) -> Float32Array:
    try:
        # Mapped, so that a header that claims more than the file holds is refused before anything is allocated.
        content = np.load(path, allow_pickle=False, mmap_mode="r")
    except (
        Exception
    ) as error:  # damaged headers raise SyntaxError, TokenError, MemoryError and others besides ValueError
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            text = "holds Python objects, or is no .npy file; expected one array of floats"
        else:
            text = f"is not an .npy file, or damaged ({type(error).__name__})"
        raise place.error(text) from None
    if not isinstance(content, np.ndarray):
        content.close()
        raise place.error("is an archive of arrays; expected one array [items, width]")
    if not np.issubdtype(content.dtype, np.floating):
        raise place.error(f"holds an array of {content.dtype}; expected floats")
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which the check refuses
        return np.array(content, dtype=np.float32, order="C")

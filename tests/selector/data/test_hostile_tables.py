"""Embedding tables that claim more than they hold, or hold code: one line, nothing allocated, nothing executed."""

from __future__ import annotations

import io
import pickle
import resource
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from selector.data.embeddings import load_embeddings
from selector.data.json_text import read_json
from selector.errors import CheckpointError, DataError
from selector.lever_plus import read_selector
from selector.torch_file import is_plain


class Bomb:
    """Executed, it would leave a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


def problem(file: Path) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError) as caught:
        load_embeddings(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 2**10
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", ["table.pth", "table.pt", "table.npy"])
def test_a_bare_pickle(tmp_path: Path, name: str, protocol: int) -> None:
    file, trace = tmp_path / name, tmp_path / "executed"
    file.write_bytes(pickle.dumps(Bomb(trace), protocol))
    assert "expected one array" in problem(file) or "damaged" in problem(file)
    file.write_bytes(pickle.dumps(np.zeros((2, 2), np.float32), protocol))
    assert problem(file)
    assert not trace.exists()


def test_pickles_under_other_names(tmp_path: Path) -> None:
    (tmp_path / "table.pkl").write_bytes(pickle.dumps([1]))
    assert "embeddings end in .pth, .pt, .npy, found '.pkl'" in problem(tmp_path / "table.pkl")
    (tmp_path / "data.json").write_bytes(pickle.dumps({}))
    with pytest.raises(DataError, match="is a Python pickle, which can run code and is not read; expected JSON"):
        read_json(tmp_path / "data.json")


def test_an_array_of_objects(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    np.save(tmp_path / "table.npy", np.array([Bomb(trace)], dtype=object), allow_pickle=True)
    assert "holds Python objects" in problem(tmp_path / "table.npy")
    torch.save({"a": Bomb(trace)}, tmp_path / "table.pth")
    assert "a pickle of Python objects, which can run code and is not loaded" in problem(tmp_path / "table.pth")
    assert not trace.exists()


def test_an_array_that_claims_more_than_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", np.zeros((10, 4), np.float32))
    content = (tmp_path / "table.npy").read_bytes()
    for shape in (b"(10000000, 400)", b"(9999999999999, 9999999999)", b"(-1, 4)", b"(True, 4)"):
        header = content[:128].replace(b"(10, 4), }", shape + b", }").replace(b" " * (len(shape) - 7), b"", 1)
        (tmp_path / "table.npy").write_bytes(header + content[128:])
        assert "is not an .npy file, or damaged" in problem(tmp_path / "table.npy")


def test_a_tensor_that_claims_its_values_many_times(tmp_path: Path) -> None:
    """1.6 kB would become 1.6 GB."""
    torch.save(torch.zeros(1).expand(20_000, 20_000), tmp_path / "table.pth")
    assert "tensor of shape [20000, 20000] over 4 bytes" in problem(tmp_path / "table.pth")
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save(whole.t(), tmp_path / "table.pth")
    assert np.array_equal(load_embeddings(tmp_path / "table.pth"), whole.t().numpy())


def packed(content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return target.getvalue()


def test_a_packed_archive(tmp_path: Path) -> None:
    torch.save(torch.zeros(2**22, 16), target := io.BytesIO())
    (tmp_path / "table.pth").write_bytes(packed(target.getvalue()))
    assert (tmp_path / "table.pth").stat().st_size < 2**19
    assert "is a packed or damaged archive" in problem(tmp_path / "table.pth")
    (tmp_path / "table.pth").rename(tmp_path / "table.pt")
    with pytest.raises(CheckpointError, match=r"table\.pt: is a packed or damaged archive"):
        read_selector(tmp_path / "table.pt", heads=1, temperature=0.1, dropout=0.0)
    (tmp_path / "table.pth").write_bytes(target.getvalue()[:-30])
    assert "is a packed or damaged archive" in problem(tmp_path / "table.pth")


@pytest.mark.parametrize("zip64", [False, True])
def test_plain_archives(tmp_path: Path, zip64: bool) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive, archive.open("a", "w", force_zip64=zip64) as entry:
        entry.write(bytes(1000))
    assert is_plain(file)
    torch.save(OrderedDict(a=torch.zeros(3)), file)
    assert is_plain(file)
    torch.save(torch.zeros(3), file, _use_new_zipfile_serialization=False)
    assert is_plain(file)


def test_rows_of_a_dictionary_are_a_table(tmp_path: Path) -> None:
    """Feature caches of earlier tools: a row number, or its digits, to a vector. Their order does not matter."""
    table = torch.arange(24, dtype=torch.float32).reshape(6, 4)
    order = (3, 0, 5, 1, 4, 2)
    forms = {
        "numbers": {row: table[row] for row in order},
        "digits": {str(row): table[row].half() for row in order},
        "rows": {row: table[row : row + 1].clone() for row in order},
    }
    for name, vectors in forms.items():
        torch.save(vectors, tmp_path / f"{name}.pth")
        assert np.array_equal(load_embeddings(tmp_path / f"{name}.pth"), table.numpy()), name

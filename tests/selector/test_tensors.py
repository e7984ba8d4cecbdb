"""The reader against the safetensors library, and against files that are not what they claim. More: `tests/fuzz`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from selector.errors import CheckpointError
from selector.tensors import read_tensors

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip
SHAPES = [(), (1,), (7,), (3, 5), (2, 1, 4), (0,), (3, 0, 2)]


def sample(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    values = torch.randint(-100, 100, shape, generator=torch.Generator().manual_seed(1))
    return (
        (values > 0) if dtype is torch.bool else (values / 3).to(dtype) if dtype.is_floating_point else values.to(dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equals_the_library(tmp_path: Path, dtype: torch.dtype) -> None:
    file = tmp_path / "model.safetensors"
    tensors = {f"t{i}/ä.weight": sample(shape, dtype) for i, shape in enumerate(SHAPES)}
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})
    ours, theirs = read_tensors(file), safetensors.torch.load_file(file)
    assert ours.keys() == theirs.keys() == tensors.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == dtype
        assert ours[name].shape == value.shape
        assert torch.equal(ours[name], value)


def test_types_together_and_no_tensor_at_all(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    tensors = {str(dtype): sample((3, 5), dtype) for dtype in DTYPES}
    safetensors.torch.save_file(tensors, file)
    assert all(torch.equal(value, tensors[name]) for name, value in read_tensors(file).items())
    safetensors.torch.save_file({}, file)
    assert read_tensors(file) == {}


def test_tensors_own_their_memory(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(4), "b": torch.zeros(4)}, file)
    read = read_tensors(file)
    read["a"].fill_(1)
    assert torch.equal(read["b"], torch.zeros(4))
    assert torch.equal(read_tensors(file)["a"], torch.zeros(4))


def crafted(header: object, data: bytes = b"\0" * 64) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not a safetensors file \\(0 bytes\\)"),
        (b"1234567", "7 bytes"),
        (b"\xff" * 8, "header of"),
        ((1000).to_bytes(8, "little") + b"{}", "header of 1000 bytes"),
        (crafted([]), "not a valid"),
        (crafted(b"\xff\xff"), "not a valid"),
        (crafted(b"[" * 100_000), "not a valid"),
        (crafted(b'{"a": ' + b"9" * 5000 + b"}"), "not a valid"),
        (crafted({"a": []}), "not a valid"),
        (crafted({"a": {}}), "dtype"),
        (crafted({"a": ENTRY | {"dtype": "F8_E4M3"}}), "dtype F8_E4M3 is not one of F64"),
        (crafted({"a": ENTRY | {"shape": [3]}}), "do not fit shape"),
        (crafted({"a": ENTRY | {"shape": [-2]}}), "whole numbers"),
        (crafted({"a": ENTRY | {"shape": [2.0]}}), "whole numbers"),
        (crafted({"a": ENTRY | {"shape": [True, 2]}}), "whole numbers"),
        (crafted({"a": ENTRY | {"shape": 2}}), "not a list"),
        (crafted({"a": ENTRY | {"shape": [10**30]}}), "do not fit shape"),
        (crafted({"a": ENTRY | {"shape": [0, 10**30], "data_offsets": [0, 0]}}), "not a valid"),
        (crafted({"a": ENTRY | {"shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}), "not a valid"),
        (crafted({"a": ENTRY | {"data_offsets": [0, 8, 9]}}), "not a list"),
        (crafted({"a": ENTRY | {"data_offsets": [8, 0]}}), "do not fit"),
        (crafted({"a": ENTRY | {"data_offsets": [60, 68]}}), "do not fit"),
        (crafted({"a": ENTRY | {"data_offsets": [10**30, 10**30 + 8]}}), "do not fit"),
    ],
)
def test_what_is_not_the_format(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=expected) as caught:
        read_tensors(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        read_tensors(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="directory"):
        read_tensors(tmp_path)


VALID = safetensors.torch.save({"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3), "c": torch.zeros(0, 2)})


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cut.safetensors"
    for length in range(len(VALID)):
        file.write_bytes(VALID[:length])
        with pytest.raises(CheckpointError):
            read_tensors(file)

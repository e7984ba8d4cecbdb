"""A selector as a program of `torch.export`: one file that runs where only torch is installed, without this package."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from selector.errors import CheckpointError, SettingsError
from selector.model import PointerSelector

SUFFIX = ".pt2"
CHECKED = ((1, 0), (2, 1), (5, 27), (33, 60))
"""Batch sizes, and candidates more than shots, with which a written program is compared."""


class _Greedy(nn.Module):
    """What is exported: greedy picks of a fixed number of demonstrations."""

    def __init__(self, model: PointerSelector, shots: int) -> None:
        super().__init__()
        self.model = model
        self.shots = shots

    def forward(self, query_BD: Tensor, cand_BKD: Tensor, mask_BK: Tensor) -> Tensor:
        filled_BKD = cand_BKD.masked_fill(~mask_BK[:, :, None], 0.0)
        return self.model.unroll(self.model.encode(query_BD, filled_BKD, mask_BK), self.shots)


def write_program(model: PointerSelector, file: Path, shots: int) -> None:
    """Write a program that picks what `PointerSelector.select` picks, and see that it does.

    It is loaded with `torch.export.load(file).module()`, and called with query embeddings float32 [B, D], candidates
    float32 [B, K, D] and a bool mask [B, K] of those that exist. It returns int64 [B, shots]. B may be any number from
    1, K any number from `shots`. The first k picks are the picks of k shots.

    Args:
        model: what is written, in float32 on the CPU.
        file: ends in `.pt2`. Replaced if it exists.
        shots: demonstrations per query, at least 1.

    Raises:
        SettingsError: another suffix, or no shot.
        CheckpointError: the program picks other demonstrations than the model.
    """
    if file.suffix != SUFFIX:
        raise SettingsError(f"{file}: a program of torch.export ends in {SUFFIX}")
    if shots < 1:
        raise SettingsError(f"shots {shots} must be at least 1")
    module = _Greedy(model.float().cpu().eval(), shots).requires_grad_(False)
    batch, pool = torch.export.Dim("batch", min=1), torch.export.Dim("pool", min=shots)
    example = _inputs(3, shots, 2, model.config.width)
    shapes = ({0: batch}, {0: batch, 1: pool}, {0: batch, 1: pool})
    program = torch.export.export(module, example, dynamic_shapes=shapes)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as folder:
        whole = Path(folder) / file.name
        torch.export.save(program, whole)
        _compare(model, whole, shots)
        whole.replace(file)


def _compare(model: PointerSelector, file: Path, shots: int) -> None:
    run = torch.export.load(file).module()
    for batch, more in CHECKED:
        query_BD, cand_BKD, mask_BK = _inputs(batch, shots, more, model.config.width)
        if not torch.equal(run(query_BD, cand_BKD, mask_BK), model.select(query_BD, cand_BKD, shots, mask_BK)):
            raise CheckpointError(f"{file.name}: the exported program picks other demonstrations than the selector")


def _inputs(batch: int, shots: int, more: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random queries and candidates. One does not exist where there are more than the shots need."""
    pool = shots + more
    generator = torch.Generator().manual_seed(batch * 1000 + pool)
    mask_BK = torch.ones(batch, pool, dtype=torch.bool)
    mask_BK[-1, -1] = not more
    query_BD, cand_BKD = (torch.randn(*shape, width, generator=generator) for shape in ((batch,), (batch, pool)))
    return query_BD, cand_BKD, mask_BK

"""Unit length and cosines, with backward passes that read and write the candidates half as often as torch's own.

Values are torch's to the bit. Gradients differ in the last bit. Candidates are the largest tensors of a batch, so that
their passes over memory cost as much as their products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = 1e-12
"""A shorter vector is divided by this, as `torch.nn.functional.normalize` does."""


def unit_length(rows_XH: Tensor) -> Tensor:
    """`functional.normalize` over the last axis, equal to the bit. Its gradient differs in the last bit."""
    if torch.is_grad_enabled() and rows_XH.requires_grad:
        unit_XH: Tensor = _UnitLength.apply(rows_XH)  # type: ignore[no-untyped-call]
        return unit_XH
    return functional.normalize(rows_XH, dim=-1)


def cosines(state_BNH: Tensor, unit_BKH: Tensor) -> Tensor:
    """Of states and candidates, both of unit length, [B, N, K]."""
    if torch.is_grad_enabled() and unit_BKH.requires_grad:
        cosine_BNK: Tensor = _Cosines.apply(state_BNH, unit_BKH)  # type: ignore[no-untyped-call]
        return cosine_BNK
    return state_BNH @ unit_BKH.transpose(1, 2)


class _UnitLength(torch.autograd.Function):
    """y = x / |x|, so that dx = (dy - y (y . dy)) / |x|."""

    @staticmethod
    def forward(ctx: Any, rows_XH: Tensor) -> Tensor:  # noqa: ANN401 (torch's own context)
        length_X1: Tensor = torch.linalg.vector_norm(rows_XH, dim=-1, keepdim=True).clamp_min(SMALLEST)
        unit_XH = rows_XH / length_X1
        ctx.save_for_backward(unit_XH, length_X1)
        return unit_XH

    @staticmethod
    def backward(ctx: Any, gradient_XH: Tensor) -> Tensor:  # noqa: ANN401
        unit_XH, length_X1 = ctx.saved_tensors
        along_X1 = torch.linalg.vecdot(gradient_XH, unit_XH)[..., None]
        return torch.addcmul(gradient_XH, unit_XH, along_X1, value=-1).div_(length_X1)


class _Cosines(torch.autograd.Function):
    """A product whose gradient for the candidates is laid out as they are. Torch's own is transposed in memory."""

    @staticmethod
    def forward(ctx: Any, state_BNH: Tensor, unit_BKH: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(state_BNH, unit_BKH)
        return state_BNH @ unit_BKH.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient_BNK: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        state_BNH, unit_BKH = ctx.saved_tensors
        return gradient_BNK @ unit_BKH, gradient_BNK.transpose(1, 2) @ state_BNH

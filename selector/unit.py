"""Scaling vectors to unit length, with a backward pass of five passes over memory where torch takes about ten."""

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

"""Unit length: torch's numbers, and a gradient that is right."""

from __future__ import annotations

import torch
from torch.nn import functional

from selector.unit import cosines, unit_length


def test_values_are_torchs_to_the_bit_with_and_without_a_gradient() -> None:
    rows = torch.randn(5, 7, 33)
    rows[0, 0] = 0.0
    rows[0, 1] *= 1e-14
    expected = functional.normalize(rows, dim=-1)
    assert torch.equal(unit_length(rows), expected)
    assert torch.equal(unit_length(rows.requires_grad_(True)), expected)


def test_the_gradient() -> None:
    rows = torch.randn(4, 3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_length, rows)
    single = torch.randn(64, 256, requires_grad=True)
    weights = torch.randn(64, 256)
    (own,) = torch.autograd.grad((unit_length(single) * weights).sum(), single)
    (torchs,) = torch.autograd.grad((functional.normalize(single, dim=-1) * weights).sum(), single)
    torch.testing.assert_close(own, torchs, rtol=1e-5, atol=1e-6)


def test_cosines() -> None:
    generator = torch.Generator().manual_seed(1)
    state = torch.randn(3, 2, 6, dtype=torch.float64, generator=generator).requires_grad_(True)
    unit = torch.randn(3, 5, 6, dtype=torch.float64, generator=generator).requires_grad_(True)
    assert torch.autograd.gradcheck(cosines, (state, unit))
    assert torch.equal(cosines(state, unit), state @ unit.transpose(1, 2))
    (gradient,) = torch.autograd.grad(cosines(state, unit).sum(), unit)
    assert gradient.is_contiguous()
    with torch.no_grad():
        assert torch.equal(cosines(state, unit), state @ unit.transpose(1, 2))

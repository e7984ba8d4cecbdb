from __future__ import annotations

import pytest
import torch
from transformers import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLMLP, Qwen2MLP, apply_rotary_pos_emb_vision

from sweep.vlm.engine.layers import add_gated, turn


@pytest.mark.parametrize("activation", ["silu", "gelu"])
@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_gated_part_is_transformers_own(activation: str, bias: bool) -> None:
    config = Qwen2_5_VLTextConfig(hidden_size=24, intermediate_size=40, hidden_act=activation)
    part = Qwen2_5_VLMLP(config, bias=True) if bias else Qwen2MLP(config)
    hidden, normed = torch.randn(2, 7, 24)
    expected = hidden + part(normed)
    add_gated(hidden, normed, part)
    torch.testing.assert_close(hidden, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-2)])
@torch.inference_mode()
def test_turned_states_are_transformers_own(dtype: torch.dtype, tolerance: float) -> None:
    states = torch.randn(5, 3, 2, 8, dtype=dtype)
    half = torch.randn(5, 4)
    cos, sin = (torch.cat([angles, angles], dim=-1) for angles in (half.cos(), half.sin()))
    expected = apply_rotary_pos_emb_vision(states[:, 0], states[:, 1], cos, sin)
    untouched = states[:, 2].clone()
    turn(states[:, :2], half.cos()[:, None, None], half.sin()[:, None, None])
    for found, wanted in zip((states[:, 0], states[:, 1]), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)
    assert torch.equal(states[:, 2], untouched)

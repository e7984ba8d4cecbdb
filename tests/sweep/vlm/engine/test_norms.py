from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRMSNorm

from sweep.vlm.engine.engine import Engine
from sweep.vlm.engine.norms import FusedNorm


@given(st.integers(1, 40), st.integers(1, 200), st.floats(1e-3, 1e3), st.sampled_from([1e-6, 1e-5]))
@torch.inference_mode()
def test_norm_is_transformers_norm(rows: int, width: int, scale: float, epsilon: float) -> None:
    norm = Qwen2_5_VLRMSNorm(width, eps=epsilon)
    norm.weight.normal_()
    hidden = torch.randn(rows, width) * scale
    torch.testing.assert_close(FusedNorm(norm)(hidden), norm(hidden), atol=1e-6, rtol=1e-6)
    half = norm.bfloat16()
    torch.testing.assert_close(FusedNorm(half)(hidden.bfloat16()), half(hidden.bfloat16()), atol=1e-6, rtol=0.02)


def test_no_norm_is_left_out(engine: Engine) -> None:
    modules = list(engine.loaded.model.modules())
    assert not any(isinstance(module, Qwen2_5_VLRMSNorm) for module in modules)
    assert sum(isinstance(module, FusedNorm) for module in modules) == 2 * 3 + 1 + 2 * 3 + 1

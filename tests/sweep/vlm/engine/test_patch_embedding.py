from __future__ import annotations

import pytest
import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionPatchEmbed

from sweep.vlm.engine.engine import Engine
from sweep.vlm.engine.patch_embedding import PatchProduct


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@torch.inference_mode()
def test_product_is_transformers_convolution(dtype: torch.dtype, tolerance: float) -> None:
    embedding = Qwen2_5_VisionPatchEmbed(embed_dim=40).to(dtype)
    patches = torch.randn(12, 3 * 2 * 14 * 14)
    product = PatchProduct(embedding)
    torch.testing.assert_close(product(patches), embedding(patches), atol=tolerance, rtol=tolerance)
    assert product(patches).dtype is dtype
    assert product.state_dict().keys() == embedding.state_dict().keys()


def test_the_engine_uses_the_product(engine: Engine) -> None:
    assert isinstance(engine.loaded.model.model.visual.patch_embed, PatchProduct)

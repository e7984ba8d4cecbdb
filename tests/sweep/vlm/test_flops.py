"""FLOPs and weights by the configuration are those of a real model, counted by torch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2_5_VLForConditionalGeneration

from sweep.vlm.checkpoint import ModelError
from sweep.vlm.flops import VlmShape
from tests.sweep.vlm.models import build_config, build_tokenizer

GRIDS = ((4, 6), (3, 5))  # rows and columns of tokens; windows of 2 do not divide the second
CLOSE = pytest.approx  # rotary positions are products too, and are not counted


@pytest.fixture(scope="module")
def made() -> tuple[VlmShape, Qwen2_5_VLForConditionalGeneration]:
    config = build_config(build_tokenizer())
    config._attn_implementation = "eager"  # every product is then one that torch counts
    model = Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    return VlmShape.of(config.to_dict()), model


def test_the_vision_tower(made: tuple[VlmShape, Qwen2_5_VLForConditionalGeneration]) -> None:
    shape, model = made
    grid = torch.tensor([(1, 2 * rows, 2 * columns) for rows, columns in GRIDS])
    patches = torch.randn(int(grid.prod(1).sum()), shape.vision.patch_values)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.model.get_image_features(patches, grid)
    assert counter.get_total_flops() == CLOSE(sum(shape.vision.image(*one) for one in GRIDS), rel=1e-3)


def test_the_language_model(made: tuple[VlmShape, Qwen2_5_VLForConditionalGeneration]) -> None:
    shape, model = made
    prompts, tokens = 2, 40
    ids = torch.randint(0, 200, (prompts, tokens))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, logits_to_keep=1)
    expected = shape.text.products(prompts * tokens, prompts) + shape.text.attention(prompts * tokens**2)
    assert counter.get_total_flops() == CLOSE(expected, rel=2e-3)


def test_reading_prompts_spares_the_last_layer_all_but_keys_and_values(
    made: tuple[VlmShape, Qwen2_5_VLForConditionalGeneration],
) -> None:
    shape, model = made
    layer = model.model.language_model.layers[-1]
    spared = [layer.self_attn.q_proj, layer.self_attn.o_proj, *layer.mlp.children()]
    weights = sum(part.weight.numel() for part in spared if isinstance(part, torch.nn.Linear))
    assert shape.text.products(40) - shape.text.prefill(40, 3) == pytest.approx(2 * weights * 37)


def test_weights(made: tuple[VlmShape, Qwen2_5_VLForConditionalGeneration]) -> None:
    shape, model = made
    matrices = sum(one.numel() for one in model.parameters() if one.dim() > 1)
    assert shape.weights == matrices


def test_the_published_models() -> None:
    """Sizes by the configurations of the hub, whose older form has the language model's numbers at the top."""
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "patch_size": 14, "spatial_merge_size": 2}
    vision |= {"temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}
    text = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16}
    text |= {"num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True}
    shape = VlmShape.of({**text, "vision_config": vision | {"out_hidden_size": 2048}})
    assert shape.weights == pytest.approx(3.75e9, rel=0.01)
    assert shape.text.key_value_bytes(2) == 36_864  # "37 kB" (docs/benchmarks.md)
    with pytest.raises(ModelError, match=r"here: does not describe.*depth"):
        VlmShape.of({**text, "vision_config": {"patch_size": 14, "hidden_size": 1, "intermediate_size": 1}}, "here")

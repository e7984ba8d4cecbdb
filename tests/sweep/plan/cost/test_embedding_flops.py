"""FLOPs of embedding by the configuration are those that torch counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from sweep.embed.flops import dual_flops
from sweep.settings.embed import Inputs
from sweep.settings.vlm import ModelSettings

VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {**VISION, "hidden_size": 24, "vocab_size": 50, "max_position_embeddings": 9}
SIDE = {"image_size": 24, "patch_size": 6}


@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        (CLIPModel, CLIPConfig(text_config=TEXT, vision_config=VISION | SIDE, projection_dim=20)),
        (SiglipModel, SiglipConfig(text_config=TEXT | {"projection_size": 32}, vision_config=VISION | SIDE)),
    ],
)
def test_an_image_and_a_question(tmp_path: Path, model_class: type, config: CLIPConfig | SiglipConfig) -> None:
    config.save_pretrained(tmp_path)
    model = model_class._from_config(config, attn_implementation="eager").eval()
    said = dual_flops(ModelSettings(path=str(tmp_path)))
    with FlopCounterMode(display=False) as image, torch.no_grad():
        model.get_image_features(pixel_values=torch.randn(3, 3, 24, 24))
    with FlopCounterMode(display=False) as question, torch.no_grad():
        model.get_text_features(input_ids=torch.ones(3, 9, dtype=torch.long))
    assert image.get_total_flops() / 3 == pytest.approx(said[Inputs.IMAGE], rel=1e-6)
    assert question.get_total_flops() / 3 == pytest.approx(said[Inputs.QUESTION], rel=1e-6)

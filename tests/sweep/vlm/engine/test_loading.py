from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2VLImageProcessorPil

from selector.errors import UserError
from sweep.settings.vlm import ModelSettings, Precision
from sweep.vlm.engine.loading import ModelError, load, resolve_device, resolve_folder, resolve_precision


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def problem(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(ModelSettings(path=str(folder)), "cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert isinstance(caught.value, UserError)
    return message


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_loads_in_the_precision_of_the_device(checkpoint: Path) -> None:
    loaded = load(ModelSettings(path=str(checkpoint)), "cpu")
    assert loaded.model.dtype is torch.float32
    assert not loaded.model.training
    assert not any(weights.requires_grad for weights in loaded.model.parameters())
    assert loaded.context == 4096
    assert loaded.end_ids == tuple(loaded.model.generation_config.eos_token_id)
    half = load(ModelSettings(path=str(checkpoint), precision=Precision.BFLOAT16), "cpu")
    assert half.model.dtype is torch.bfloat16


def test_precision_and_device() -> None:
    assert resolve_precision(Precision.AUTO, "cuda") is Precision.BFLOAT16
    assert resolve_precision(Precision.AUTO, "cpu") is Precision.FLOAT32
    assert resolve_precision(Precision.FLOAT16, "cpu") is Precision.FLOAT16
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(ModelError, match="'gpu' is not a device"):
        resolve_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="no GPU"):
            resolve_device("cuda")


def test_a_checkpoints_pixel_limits_do_not_leak_into_other_processors(checkpoint: Path) -> None:
    before = dict(Qwen2VLImageProcessorPil.size)
    load(ModelSettings(path=str(checkpoint)), "cpu")
    assert before == Qwen2VLImageProcessorPil.size


def test_no_such_folder(tmp_path: Path) -> None:
    assert "no such folder" in problem(tmp_path / "nothing")
    (tmp_path / "file").touch()
    assert "is a file; expected a folder" in problem(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "config.json: no such file" in problem(tmp_path / "empty")


def test_a_hub_name_that_is_not_cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"model owner/name: .*not in the cache, and the hub cannot be reached"):
        resolve_folder(ModelSettings(path="owner/name"))
    with pytest.raises(ModelError, match="not a hub name"):
        resolve_folder(ModelSettings(path="owner/na--me"))


def test_a_cached_hub_name(copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = tmp_path / "hub" / "models--owner--name"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("c" * 40)
    (hub / "snapshots").mkdir()
    copy.rename(hub / "snapshots" / ("c" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = resolve_folder(ModelSettings(path="owner/name"))
    assert folder.name == "c" * 40
    assert load(ModelSettings(path="owner/name"), "cpu").context == 4096


def test_other_architectures(copy: Path) -> None:
    edit(copy / "config.json", model_type="qwen3_vl")
    assert "model_type is 'qwen3_vl'; only Qwen2.5-VL" in problem(copy)


def test_broken_json(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    assert "config.json: not readable JSON" in problem(copy)
    (copy / "config.json").write_text("[]")
    assert "config.json: expected a JSON object" in problem(copy)


def test_damaged_weights(copy: Path) -> None:
    weights = copy / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    assert "model.safetensors: damaged or incomplete" in problem(copy)
    weights.write_bytes(b"\xff" * 64)
    assert "model.safetensors: damaged or incomplete" in problem(copy)
    weights.rename(copy / "pytorch_model.bin")
    assert "holds no *.safetensors" in problem(copy)


def test_missing_weights_are_not_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in sorted(weights) if "layers.1.mlp" in name)
    del weights[name]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert "1 weights are missing" in problem(copy)


def test_weights_of_another_shape(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"][:, :32].contiguous()
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert "cannot be loaded" in problem(copy) or "do not fit" in problem(copy)


def test_preprocessor_and_tokenizer(copy: Path, tmp_path: Path) -> None:
    (copy / "preprocessor_config.json").rename(tmp_path / "aside")
    assert "holds neither preprocessor_config.json nor a processor_config.json" in problem(copy)
    (tmp_path / "aside").rename(copy / "preprocessor_config.json")
    edit(copy / "preprocessor_config.json", patch_size=16)
    assert "patch, merge and temporal size are (16, 2, 2)" in problem(copy)
    edit(copy / "preprocessor_config.json", patch_size=14)
    (copy / "tokenizer.json").write_text("{")
    assert "no usable tokenizer" in problem(copy)


def test_tokenizer_of_another_model(copy: Path) -> None:
    edit(copy / "config.json", image_token_id=3)
    assert "tokenizer and model do not belong together" in problem(copy)


def test_sliding_windows(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["layer_types"][1] = "sliding_attention"
    config["text_config"] |= {"use_sliding_window": True, "sliding_window": 8}
    (copy / "config.json").write_text(json.dumps(config))
    assert "sliding-window attention is not supported" in problem(copy)


def test_nothing_but_end_tokens_is_taken_from_generation_settings(copy: Path) -> None:
    (copy / "generation_config.json").unlink()
    loaded = load(ModelSettings(path=str(copy)), "cpu")
    assert loaded.end_ids == (loaded.tokenizer.convert_tokens_to_ids("<|im_end|>"),)

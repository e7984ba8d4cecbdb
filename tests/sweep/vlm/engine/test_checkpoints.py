"""Checkpoint folders as others write them: read as transformers reads them, or refused before anything is loaded.

Whatever is wrong is said by `check_model`, which `validate` calls, and in the same words by `load`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BitsAndBytesConfig, Qwen2_5_VLProcessor, Qwen2VLImageProcessorPil

from selector.errors import UserError
from sweep.settings.vlm import ModelSettings, VlmSettings
from sweep.vlm.checkpoint import INDEX, WEIGHTS, ModelError
from sweep.vlm.engine.images import Patching
from sweep.vlm.engine.loading import check_model, load
from sweep.vlm.keys import model_identity
from tests.test_lfs import POINTER

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class ProcessorOfImages(Qwen2_5_VLProcessor):
    """The processor without its part for videos, which needs torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def settings(folder: Path, **prompt: object) -> VlmSettings:
    return VlmSettings.model_validate({"model": {"path": str(folder)}, "prompt": prompt})


def problem(folder: Path, *, loads: bool = False) -> str:
    """What `check_model` says, which must be what `load` says."""
    with pytest.raises(UserError) as caught:
        check_model(settings(folder))
    if not loads:
        with pytest.raises(ModelError) as loading:
            load(ModelSettings(path=str(folder)), "cpu")
        assert str(loading.value) == str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rename_weights(folder: Path, rename: Callable[[str], str]) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({rename(name): value for name, value in weights.items()}, folder / WEIGHTS, {"format": "pt"})


def as_transformers_5(folder: Path, **options: Any) -> None:
    """Replace the processor's files by those that `save_pretrained` writes."""
    (folder / "preprocessor_config.json").unlink()
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 784, "longest_edge": 12544}, **options)
    ProcessorOfImages(image_processor=processor, tokenizer=AutoTokenizer.from_pretrained(folder)).save_pretrained(
        folder
    )
    assert not (folder / "preprocessor_config.json").exists()


def shard(folder: Path) -> list[str]:
    """The weights in two files with an index."""
    weights = load_file(folder / WEIGHTS)
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for number, file in enumerate(names):
        save_file({name: weights[name] for name in sorted(weights)[number::2]}, folder / file, {"format": "pt"})
    index = {name: names[number % 2] for number, name in enumerate(sorted(weights))}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / WEIGHTS).unlink()
    return names


def test_a_good_checkpoint_passes(copy: Path) -> None:
    check_model(settings(copy))
    shard(copy)
    check_model(settings(copy))
    assert load(ModelSettings(path=str(copy)), "cpu").context == 4096


def test_a_folder_as_transformers_5_writes_it(copy: Path) -> None:
    as_transformers_5(copy, image_mean=[0.1, 0.2, 0.3])
    check_model(settings(copy))
    loaded = load(ModelSettings(path=str(copy)), "cpu")
    assert loaded.patching.mean == (0.1, 0.2, 0.3)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8))
    theirs = Qwen2VLImageProcessorPil.from_pretrained(copy)(images=[image], return_tensors="pt")["pixel_values"]
    ours = loaded.patching.patches(torch.from_numpy(np.asarray(image)[None].copy()))
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)


def test_the_nested_processor_comes_first(copy: Path) -> None:
    """As in transformers, where a folder has both."""
    content = (copy / "preprocessor_config.json").read_text()
    as_transformers_5(copy, image_mean=[0.1, 0.2, 0.3])
    (copy / "preprocessor_config.json").write_text(content)
    expected = Patching.of(Qwen2VLImageProcessorPil.from_pretrained(copy))
    assert load(ModelSettings(path=str(copy)), "cpu").patching.mean == expected.mean == (0.1, 0.2, 0.3)


def test_the_processor_is_part_of_the_answers_key(copy: Path) -> None:
    as_transformers_5(copy)
    before = model_identity(ModelSettings(path=str(copy)))
    (copy / "._model.safetensors").write_bytes(b"of a Mac")
    assert model_identity(ModelSettings(path=str(copy))) == before
    file = copy / "processor_config.json"
    file.write_text(file.read_text().replace('"rescale_factor": 0.00392156862745098', '"rescale_factor": 0.5'))
    assert model_identity(ModelSettings(path=str(copy))) != before


def test_a_processor_without_its_images(copy: Path) -> None:
    (copy / "preprocessor_config.json").unlink()
    (copy / "processor_config.json").write_text('{"processor_class": "Qwen2_5_VLProcessor"}')
    assert "nor a processor_config.json with an image_processor" in problem(copy)


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        ("module.", "saved from a model wrapped for several GPUs; save `model.module` instead"),
        ("base_model.model.", "saved from a PEFT model; call `merge_and_unload()`"),
        ("_orig_mod.", "saved from a compiled model"),
        ("student.", "no weight is named as those of a Qwen2.5-VL are (student."),
    ],
)
def test_weights_under_other_names(copy: Path, prefix: str, said: str) -> None:
    rename_weights(copy, lambda name: prefix + name)
    assert said in problem(copy)


def test_an_adapter(copy: Path) -> None:
    """Also beside a whole model: transformers would apply it where PEFT is installed, and not elsewhere."""
    (copy / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "owner/base"})
    )
    assert "holds an adapter (adapter_config.json, base model 'owner/base')" in problem(copy)
    (copy / WEIGHTS).rename(copy / "adapter_model.safetensors")
    assert "`merge_and_unload()`" in problem(copy)


def test_an_adapter_that_was_left_between_the_weights(copy: Path) -> None:
    rename_weights(copy, lambda name: name.replace("q_proj.weight", "q_proj.lora_A.weight"))
    assert "a weight that is of an adapter that was not merged" in problem(copy)


def test_quantised_weights(copy: Path) -> None:
    edit(copy / "config.json", quantization_config=BitsAndBytesConfig(load_in_4bit=True).to_dict())
    assert "the weights are quantised (bitsandbytes); only plain weights are read" in problem(copy)


def test_a_shard_that_is_missing(copy: Path) -> None:
    names = shard(copy)
    (copy / names[1]).unlink()
    assert f"1 of the 2 files of weights that {INDEX} names are missing, {names[1]} the first" in problem(copy)
    (copy / INDEX).unlink()
    assert f"holds {names[0]}, but neither {WEIGHTS} nor {INDEX}" in problem(copy)
    (copy / INDEX).write_text(json.dumps({"weight_map": {"a": "../../elsewhere.safetensors"}}))
    assert "has no weight_map that names files of this folder" in problem(copy)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pytorch_model.bin", "a pickle, which can run code when it is read, and is not read: load it where"),
        ("consolidated.00.pth", "a pickle"),
        ("model-q4.gguf", "in the form of llama.cpp"),
    ],
)
def test_weights_of_another_form(copy: Path, name: str, said: str) -> None:
    (copy / WEIGHTS).rename(copy / name)
    message = problem(copy)
    assert f"holds no *.safetensors; {name} is" in message and said in message


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_pointer_of_git_lfs(copy: Path, name: str) -> None:
    (copy / name).write_bytes(POINTER)
    assert problem(copy).startswith(f"{copy / name}: is a Git LFS pointer")


def test_weights_that_are_missing_or_do_not_fit(copy: Path) -> None:
    weights = load_file(copy / WEIGHTS)
    lost = next(name for name in sorted(weights) if "layers.1.mlp" in name)
    save_file({name: value for name, value in weights.items() if name != lost}, copy / WEIGHTS, {"format": "pt"})
    assert "1 weights are missing" in problem(copy)
    weights["lm_head.weight"] = weights["lm_head.weight"][:, :32].contiguous()
    save_file(weights, copy / WEIGHTS, {"format": "pt"})
    assert "weights do not fit config.json: ('lm_head.weight'" in problem(copy)


@pytest.mark.parametrize(
    ("section", "name", "value", "said"),
    [
        ("text_config", "num_hidden_layers", 10**9, "num_hidden_layers is 1000000000, and the files hold"),
        ("vision_config", "depth", 10**9, "depth is 1000000000"),
        ("text_config", "num_labels", 10**9, "num_labels is 1000000000"),
        ("text_config", "vocab_size", 10**10, "describes a model of"),
        ("text_config", "hidden_size", 10**6, "describes a model of"),
    ],
)
def test_a_configuration_cannot_ask_for_more_than_the_weights(
    copy: Path, section: str, name: str, value: int, said: str
) -> None:
    config = json.loads((copy / "config.json").read_text())
    config[section][name] = value
    (copy / "config.json").write_text(json.dumps(config))
    assert said in problem(copy)


def test_a_tokenizer_too_large_to_be_one(copy: Path) -> None:
    with (copy / "tokenizer.json").open("r+b") as file:
        file.truncate(2**31)
    assert "tokenizer.json: 2,147,483,648 bytes; above 67,108,864 it is not read" in problem(copy)


@pytest.mark.parametrize("value", ["x", "", float("nan"), -1, 10**6, True, [], [1, "x"], {"a": 1}])
def test_end_tokens_that_are_none(copy: Path, value: object) -> None:
    edit(copy / "generation_config.json", eos_token_id=value)
    assert "eos_token_id is" in problem(copy)


@pytest.mark.parametrize("value", [0, -5, 2.5, "many"])
def test_a_context_that_is_none(copy: Path, value: object) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = value
    (copy / "config.json").write_text(json.dumps(config))
    message = problem(copy)
    assert "max_position_embeddings is" in message or "cannot be read" in message


def test_an_image_processor_of_other_channels(copy: Path) -> None:
    edit(copy / "preprocessor_config.json", image_mean=[0.5])
    assert "image_mean and image_std are not three numbers each" in problem(copy)
    edit(copy / "preprocessor_config.json", image_mean=[0.5] * 3, image_std=[0.5, 0, 1])
    assert "no deviation of 0" in problem(copy)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('Only\\nuser roles!') }}", "the checkpoint's chat template: Only"),
        ("{{ nothing.there }}", "the checkpoint's chat template: UndefinedError: 'nothing' is undefined"),
        ("{% for %}", "the checkpoint's chat template: not valid Jinja: "),
        ("{{ messages[0].content[0].text.__class__.__mro__ }}", "SecurityError"),
        ("no image at all", "renders 0 images of 1"),
        (
            "{% set x = namespace(t='aaaaaaaa') %}{% for a in range(99) %}{% set x.t = x.t ~ x.t %}{% endfor %}",
            "memory",
        ),
    ],
)
def test_a_chat_template_that_fails(copy: Path, template: str, said: str) -> None:
    """It is found before a model is loaded, and ends the work with one line."""
    (copy / "chat_template.jinja").write_text(template)
    assert said in problem(copy, loads=True)


def test_no_chat_template(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    assert "has no chat template; copy chat_template.jinja" in problem(copy, loads=True)
    check_model(settings(copy, layout="free", template="{{ query.image }}{{ query.question }}"))

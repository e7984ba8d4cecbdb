"""The embedding model against transformers' own pipeline, and against itself in other company."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPModel,
    SiglipImageProcessorPil,
    SiglipModel,
)

from sweep.embed.loading import check_dual
from sweep.embed.model import GROUP, DualEncoder, check_embedding_model, load_model
from sweep.settings.embed import EmbedSettings, Inputs
from sweep.settings.vlm import DEMO_MODEL, ImageSettings, ModelSettings, VlmSettings
from sweep.vlm.checkpoint import ModelError
from sweep.vlm.engine.pixels import UnfitImageError

KINDS = {"clip": (CLIPModel, CLIPImageProcessorPil), "siglip": (SiglipModel, SiglipImageProcessorPil)}
TEXTS = ["What COLOUR is it?", "", "a " * 200, "what shape?"]


def encoded(height: int, width: int, mode: str = "RGB", seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "PNG")
    return stream.getvalue()


IMAGES = [encoded(40, 61), encoded(32, 32, "L", 1), encoded(200, 33, "P", 2), encoded(35, 64, "RGB", 3)]


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str, checkpoints: dict[str, Path]) -> DualEncoder:
    settings = EmbedSettings.model_validate({"model": {"path": str(checkpoints[kind])}})
    found = load_model(settings, settings.model, ImageSettings(), "cpu")
    assert isinstance(found, DualEncoder)
    return found


def test_images_are_what_the_checkpoints_own_processor_and_model_make_of_them(
    kind: str, model: DualEncoder, checkpoints: dict[str, Path]
) -> None:
    model_class, processor_class = KINDS[kind]
    processor = processor_class.from_pretrained(checkpoints[kind])
    plain = model_class.from_pretrained(checkpoints[kind]).eval()
    pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content in IMAGES]
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
    read = [model.read_image(content) for content in IMAGES]
    assert np.array_equal(np.stack(read), pixels.numpy())  # to the last bit
    with torch.inference_mode():
        expected = plain.get_image_features(pixels).pooler_output.numpy()
    assert np.abs(model.images(read) - expected).max() < 1e-5


def test_questions_are_what_the_checkpoints_own_tokenizer_and_model_make_of_them(
    kind: str, model: DualEncoder, checkpoints: dict[str, Path]
) -> None:
    plain = KINDS[kind][0].from_pretrained(checkpoints[kind]).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[kind])
    length = plain.config.text_config.max_position_embeddings
    with torch.inference_mode():
        for text, found in zip(TEXTS, model.questions(TEXTS), strict=True):  # alone, and CLIP's without padding
            padding = {"padding": "max_length"} if kind == "siglip" else {}
            tokens = tokenizer([text], truncation=True, max_length=length, return_tensors="pt", **padding)
            expected = plain.get_text_features(**tokens).pooler_output[0].numpy()
            assert np.abs(found - expected).max() < 1e-5
    assert np.array_equal(*model.questions(["WHAT?", "what?"]))


def test_a_vector_does_not_depend_on_its_company(model: DualEncoder) -> None:
    read = [model.read_image(IMAGES[place % 4]) for place in range(GROUP)]
    whole = model.images(read)
    for place in (0, 3):
        assert np.array_equal(model.images(read[: place + 1])[place], whole[place])
        assert np.array_equal(whole[place], whole[place + 12])
    texts = [f"text {place % 4}" for place in range(GROUP)]
    assert np.array_equal(model.questions(texts[:3]), model.questions(texts)[:3])


def test_a_group_is_halved_where_memory_runs_out(model: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    compute = model._model.get_image_features

    def limited(pixel_values: torch.Tensor) -> object:
        sizes.append(len(pixel_values))
        if len(pixel_values) > 4:
            raise torch.OutOfMemoryError("as CUDA says")
        return compute(pixel_values=pixel_values)

    read = [model.read_image(content) for content in IMAGES]
    whole = model.images(read)
    monkeypatch.setattr(model._model, "get_image_features", limited)
    assert np.abs(model.images(read) - whole).max() < 1e-5
    assert sizes == [16, 8, 4, 4, 8, 4, 4]


def test_the_towers_features_do_not_depend_on_their_company() -> None:
    vlm = VlmSettings(model=ModelSettings(path=DEMO_MODEL), images=ImageSettings(min_pixels=784, max_pixels=3136))
    settings = EmbedSettings.model_validate({"model": {"path": "vlm"}, "inputs": "image"})
    tower = load_model(settings, vlm.model, vlm.images, "cpu")
    read = [tower.read_image(content) for content in IMAGES]
    whole = tower.images(read)
    assert whole.shape == (4, check_embedding_model(settings, vlm)[Inputs.IMAGE])
    assert np.array_equal(tower.images(read[2:]), whole[2:])


def test_an_image_that_cannot_be_read_has_a_reason(model: DualEncoder) -> None:
    for content in (b"nothing", IMAGES[0][:100], encoded(1, 300)):
        with pytest.raises(UnfitImageError):
            model.read_image(content)


@pytest.fixture
def copy(tmp_path: Path, checkpoints: dict[str, Path]) -> Path:
    return shutil.copytree(checkpoints["clip"], tmp_path / "clip")


def edited(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


BROKEN = {
    "another model": (lambda f: edited(f / "config.json", model_type="siglip2"), "only CLIP or SigLIP"),
    "a pointer": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "Git LFS pointer",
    ),
    "cut weights": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:9000]),
        "damaged or incomplete",
    ),
    "a pickle": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "is a pickle"),
    "no processor": (lambda f: (f / "preprocessor_config.json").unlink(), "neither preprocessor_config.json"),
    "another processor": (
        lambda f: edited(f / "preprocessor_config.json", crop_size={"height": 24, "width": 24}),
        r"shape \[3, 24, 24\]; the model takes \[3, 32, 32\]",
    ),
    "a huge processor": (
        lambda f: edited(f / "preprocessor_config.json", size={"shortest_edge": 10**7}),
        "size and crop_size",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no usable tokenizer"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_checkpoint_that_cannot_be_used_is_refused_before_anything_starts(copy: Path, name: str) -> None:
    damage, reason = BROKEN[name]
    damage(copy)
    with pytest.raises(ModelError, match=reason):
        check_dual(ModelSettings(path=str(copy)), texts=True)

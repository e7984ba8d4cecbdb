"""A checkpoint's name -> a loaded Qwen2.5-VL. Safetensors only, no code from checkpoints, one line per thing wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from selector.errors import first_line
from sweep.settings.vlm import ModelSettings, Precision
from sweep.vlm.checkpoint import CONFIG, ModelError, check_checkpoint, read_json, resolve_folder, resolve_precision
from sweep.vlm.engine.attention import FLASH_WINDOWS, PREFIX_TREE, register_attention
from sweep.vlm.engine.images import Patching
from sweep.vlm.engine.norms import fuse_norms
from sweep.vlm.prompts import IMAGE_PAD

PREPROCESSOR, GENERATION = "preprocessor_config.json", "generation_config.json"
_DTYPES = {
    Precision.FLOAT32: torch.float32,
    Precision.BFLOAT16: torch.bfloat16,
    Precision.FLOAT16: torch.float16,
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to answer.

    Attributes:
        model: a `Qwen2_5_VLForConditionalGeneration`. transformers types its parts too loosely to be of use.
        end_ids: tokens that end an answer.
        context: most tokens of a prompt and its answer.
    """

    model: Any
    tokenizer: Any
    patching: Patching
    device: torch.device
    end_ids: tuple[int, ...]
    context: int


def resolve_device(device: str | None = None) -> torch.device:
    """The device named, or a GPU if there is one.

    Raises:
        ModelError: not a device of this machine.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ModelError(f"{device!r} is not a device; use cpu, cuda or cuda:N") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {device}: this machine offers torch no GPU; use cpu")
    return found


def load(settings: ModelSettings, device: str | None = None) -> Loaded:
    """Load a checkpoint onto a device.

    Raises:
        ModelError: says what is missing, wrong or damaged, and where.
    """
    folder, place = resolve_folder(settings), resolve_device(device)
    check_checkpoint(folder)
    model = _model(folder, _DTYPES[resolve_precision(settings.precision, place.type)]).to(place)
    text = model.config.text_config
    if any(kind != "full_attention" for kind in text.layer_types):
        raise ModelError(
            f"{folder / CONFIG}: sliding-window attention is not supported; set use_sliding_window to false"
        )
    tokenizer = _tokenizer(folder)
    if tokenizer.convert_tokens_to_ids(IMAGE_PAD) != model.config.image_token_id:
        raise ModelError(
            f"{folder}: {IMAGE_PAD} is token {tokenizer.convert_tokens_to_ids(IMAGE_PAD)} of the tokenizer but "
            f"{model.config.image_token_id} of config.json; tokenizer and model do not belong together"
        )
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        patching=_patching(folder, model.config.vision_config),
        device=place,
        end_ids=_end_ids(folder, text, tokenizer),
        context=int(text.max_position_embeddings),
    )


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Without the bar that transformers draws on stderr for every checkpoint. The screen is ours."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _model(folder: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401 - see `Loaded`
    from transformers import Qwen2_5_VLForConditionalGeneration

    kind: Any = Qwen2_5_VLForConditionalGeneration
    try:
        with without_progress_bars():
            model, report = kind.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation="sdpa",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:  # damaged headers, wrong sizes, bad settings: each has an exception of its own
        raise ModelError(f"{folder}: cannot be loaded ({type(error).__name__}: {first_line(error)})") from None
    if lost := sorted(report["missing_keys"]):
        raise ModelError(
            f"{folder}: {len(lost)} weights are missing, {lost[0]} the first; the checkpoint is incomplete"
        )
    if report["mismatched_keys"]:
        raise ModelError(f"{folder}: weights do not fit config.json: {sorted(map(str, report['mismatched_keys']))[0]}")
    register_attention()
    model.set_attn_implementation({"text_config": PREFIX_TREE, "vision_config": FLASH_WINDOWS})
    fuse_norms(model)
    model.requires_grad_(False)
    return model.eval()


def load_tokenizer(settings: ModelSettings) -> Any:  # noqa: ANN401 - transformers' tokenizers share no useful type
    """The checkpoint's tokenizer alone. Raises ModelError."""
    return _tokenizer(resolve_folder(settings))


def _tokenizer(folder: Path) -> Any:  # noqa: ANN401 - transformers' tokenizers share no useful type
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise ModelError(f"{folder}: no usable tokenizer ({type(error).__name__}: {first_line(error)})") from None


def _patching(folder: Path, vision: Any) -> Patching:  # noqa: ANN401 - transformers' configs
    from transformers import Qwen2VLImageProcessorPil

    file = folder / PREPROCESSOR
    read_json(file, needed=True)
    try:
        # A size of its own: else a checkpoint's min_pixels would become the default of every later processor.
        size = {"shortest_edge": 56 * 56, "longest_edge": 1280 * 28 * 28}
        patching = Patching.of(Qwen2VLImageProcessorPil.from_pretrained(folder, size=size, local_files_only=True))
    except Exception as error:  # as above
        raise ModelError(f"{file}: cannot be read ({type(error).__name__}: {first_line(error)})") from None
    asked = (patching.patch, patching.merge, patching.temporal)
    needed = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
    if asked != needed:
        raise ModelError(f"{file}: patch, merge and temporal size are {asked}; the model's config says {needed}")
    return patching


def _end_ids(folder: Path, text: Any, tokenizer: Any) -> tuple[int, ...]:  # noqa: ANN401 - as above
    stored = read_json(folder / GENERATION, needed=False).get("eos_token_id")
    for found in (stored, text.eos_token_id, tokenizer.eos_token_id):
        if found is not None:
            return tuple(found) if isinstance(found, list | tuple) else (int(found),)
    raise ModelError(f"{folder}: no end token; name eos_token_id in {GENERATION}")

"""A checkpoint's name -> a loaded Qwen2.5-VL. Safetensors only, no code from checkpoints, one line per thing wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

import torch

from selector.errors import first_line
from sweep.settings.vlm import DEMO_MODEL, ModelSettings, Precision, VlmSettings
from sweep.vlm.checkpoint import (
    CONFIG,
    ModelError,
    Weight,
    check_checkpoint,
    check_small_files,
    read_json,
    resolve_folder,
    resolve_precision,
)
from sweep.vlm.engine.images import Patching
from sweep.vlm.engine.language import Language
from sweep.vlm.engine.norms import fuse_norms
from sweep.vlm.engine.patch_embedding import PatchProduct
from sweep.vlm.prompts import IMAGE_PAD, PromptRenderer, check_prompts

GENERATION = "generation_config.json"
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""Where transformers keeps the image processor: inside of the first, or in a file of its own. The first one wins."""
_LEAST_SHARE = 0.5  # of a model's weights that the files hold: what is missing is then named, one by one
DTYPES = {
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
    weights = check_checkpoint(folder)
    with quiet():
        parts = _parts(folder, weights)
    model = _model(folder, dtype=DTYPES[resolve_precision(settings.precision, place.type)], use_safetensors=True)
    return Loaded(
        model=prepare_model(model, place),
        tokenizer=parts.tokenizer,
        patching=parts.patching,
        device=place,
        end_ids=parts.end_ids,
        context=parts.context,
    )


def tower_width(settings: ModelSettings) -> int:
    """Width of the features that the vision tower of a checkpoint gives. Raises ModelError as `check_model`."""
    folder = resolve_folder(settings)
    return int(_parts(folder, check_checkpoint(folder)).config.vision_config.out_hidden_size)


def check_model(settings: VlmSettings) -> None:
    """Do all of `load` that needs no values of weights, and render a prompt. Takes seconds, whatever the model's size.

    The demo model is left out: it ships with the code, and is as the tests have seen it.

    Raises:
        ModelError: as `load`.
        SpaceError: the prompt settings do not fit the checkpoint's chat template, or the template fails.
    """
    folder = resolve_folder(settings.model)
    weights = check_checkpoint(folder)
    if settings.model.path == DEMO_MODEL:
        return
    with quiet():
        parts = _parts(folder, weights)
    _model(folder, dtype=torch.bfloat16, state_dict=stand_ins(weights), config=parts.config)
    check_prompts(PromptRenderer(settings.prompt, parts.tokenizer))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a checkpoint's small files say, each read by transformers. `config` is a `Qwen2_5_VLConfig`."""

    config: Any
    tokenizer: Any
    patching: Patching
    end_ids: tuple[int, ...]
    context: int


def _parts(folder: Path, weights: Mapping[str, Weight]) -> _Parts:
    from transformers import Qwen2_5_VLConfig

    try:
        config: Any = Qwen2_5_VLConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # settings of a wrong type or value: each has an exception of its own
        raise ModelError(f"{folder / CONFIG}: cannot be read ({type(error).__name__}: {first_line(error)})") from None
    _check_config(folder / CONFIG, config, weights)
    tokenizer = tokenizer_of(folder)
    if tokenizer.convert_tokens_to_ids(IMAGE_PAD) != config.image_token_id:
        raise ModelError(
            f"{folder}: {IMAGE_PAD} is token {tokenizer.convert_tokens_to_ids(IMAGE_PAD)} of the tokenizer but "
            f"{config.image_token_id} of config.json; tokenizer and model do not belong together"
        )
    return _Parts(
        config=config,
        tokenizer=tokenizer,
        patching=_patching(folder, config.vision_config),
        end_ids=_end_ids(folder, config.text_config, tokenizer),
        context=_context(folder / CONFIG, config.text_config),
    )


def _check_config(file: Path, config: Any, weights: Mapping[str, Weight]) -> None:  # noqa: ANN401 - see `Loaded`
    """Refuse what the engine cannot do, and a model that the weights are not of."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    if any(kind != "full_attention" for kind in config.text_config.layer_types):
        raise ModelError(f"{file}: sliding-window attention is not supported; set use_sliding_window to false")
    check_weight_count(file, Qwen2_5_VLForConditionalGeneration, config, weights)


def check_weight_count(file: Path, kind: Any, config: Any, weights: Mapping[str, Weight]) -> None:  # noqa: ANN401
    """Refuse a model much larger than the weights, before anything is allocated. `kind` is a class of transformers."""
    try:
        with torch.device("meta"):
            model = kind(config)
    except Exception as error:  # as above
        raise ModelError(f"{file}: describes no model ({type(error).__name__}: {first_line(error)})") from None
    needed = sum(parameter.numel() for parameter in model.parameters())
    found = sum(prod(weight.shape) for weight in weights.values())
    if found < needed * _LEAST_SHARE:
        raise ModelError(
            f"{file}: describes a model of {needed:,} weights, and the files hold {found:,}; the checkpoint is "
            "incomplete, or config.json is another one's"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bar and the report that transformers writes to stderr for every checkpoint. The screen is ours."""
    from transformers.utils import logging as transformers_logging

    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _model(folder: Path, **options: Any) -> Any:  # noqa: ANN401 - see `Loaded`
    from transformers import Qwen2_5_VLForConditionalGeneration

    return load_weights(Qwen2_5_VLForConditionalGeneration, folder, **options)


def stand_ins(weights: Mapping[str, Weight]) -> dict[str, torch.Tensor]:
    """Of the right shapes, without memory of their own. With them transformers says what is missing or does not fit."""
    return {name: torch.zeros((), dtype=torch.bfloat16).expand(weight.shape) for name, weight in weights.items()}


def load_weights(kind: Any, folder: Path, **options: Any) -> Any:  # noqa: ANN401 - see `Loaded`
    """A model with all of its weights. With `state_dict` they come from there, else from the folder.

    Raises:
        ModelError: they are damaged, missing, or do not fit.
    """
    try:
        with quiet():
            model, report = kind.from_pretrained(
                None if "state_dict" in options else folder,
                attn_implementation="sdpa",
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # damaged headers, wrong sizes, bad settings: each has an exception of its own
        raise ModelError(f"{folder}: cannot be loaded ({type(error).__name__}: {first_line(error)})") from None
    if lost := sorted(report["missing_keys"]):
        raise ModelError(
            f"{folder}: {len(lost)} weights are missing, {lost[0]} the first; the checkpoint is incomplete"
        )
    if report["mismatched_keys"]:
        raise ModelError(f"{folder}: weights do not fit config.json: {sorted(map(str, report['mismatched_keys']))[0]}")
    return model


def prepare_model(model: Any, device: torch.device) -> Any:  # noqa: ANN401 - see `Loaded`
    """Move a model to its device, with the engine's language model, norms and patch embedding. Changes the model."""
    fuse_norms(model)
    model.model.language_model = Language(model.model.language_model)
    model.model.visual.patch_embed = PatchProduct(model.model.visual.patch_embed)
    model.requires_grad_(False)
    return model.eval().to(device)


def load_tokenizer(settings: ModelSettings) -> Any:  # noqa: ANN401 - transformers' tokenizers share no useful type
    """The checkpoint's tokenizer alone. Raises ModelError."""
    folder = resolve_folder(settings)
    check_small_files(folder)
    return tokenizer_of(folder)


def tokenizer_of(folder: Path) -> Any:  # noqa: ANN401 - transformers' tokenizers share no useful type
    """The tokenizer of a checkpoint whose small files were looked at. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise ModelError(f"{folder}: no usable tokenizer ({type(error).__name__}: {first_line(error)})") from None


def _patching(folder: Path, vision: Any) -> Patching:  # noqa: ANN401 - transformers' configs
    from transformers import Qwen2VLImageProcessorPil

    file = next((folder / name for name in PROCESSORS if has_processor(folder / name)), None)
    if file is None:
        raise ModelError(
            f"{folder}: holds neither {PROCESSORS[1]} nor a {PROCESSORS[0]} with an image_processor: how images become "
            "patches; copy the file from the model that this one was made from"
        )
    try:
        # A size of its own: else a checkpoint's min_pixels would become the default of every later processor.
        size = {"shortest_edge": 56 * 56, "longest_edge": 1280 * 28 * 28}
        patching = Patching.of(Qwen2VLImageProcessorPil.from_pretrained(folder, size=size, local_files_only=True))
    except Exception as error:  # as above
        raise ModelError(f"{file}: cannot be read ({type(error).__name__}: {first_line(error)})") from None
    numbers = (*patching.mean, *patching.std, patching.rescale)
    if not (len(patching.mean) == len(patching.std) == 3 and all(patching.std) and all(map(isfinite, numbers))):
        raise ModelError(f"{file}: image_mean and image_std are not three numbers each, with no deviation of 0")
    asked = (patching.patch, patching.merge, patching.temporal)
    needed = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
    if asked != needed:
        raise ModelError(f"{file}: patch, merge and temporal size are {asked}; the model's config says {needed}")
    return patching


def has_processor(file: Path) -> bool:
    """Whether a file holds an image processor's settings."""
    content = read_json(file, needed=False)
    return bool(content) and (file.name != PROCESSORS[0] or "image_processor" in content)


def _end_ids(folder: Path, text: Any, tokenizer: Any) -> tuple[int, ...]:  # noqa: ANN401 - as above
    stored = read_json(folder / GENERATION, needed=False).get("eos_token_id")
    for found in (stored, text.eos_token_id, tokenizer.eos_token_id):
        if found is not None:
            ids = tuple(found) if isinstance(found, list | tuple) else (found,)
            if not ids or not all(type(one) is int and 0 <= one < text.vocab_size for one in ids):
                raise ModelError(f"{folder}: eos_token_id is {found!r:.60}; expected numbers of tokens ({GENERATION})")
            return ids
    raise ModelError(f"{folder}: no end token; name eos_token_id in {GENERATION}")


def _context(file: Path, text: Any) -> int:  # noqa: ANN401 - as above
    found = text.max_position_embeddings
    if type(found) is not int or found < 1:
        raise ModelError(f"{file}: max_position_embeddings is {found!r:.60}; expected a number of tokens")
    return found

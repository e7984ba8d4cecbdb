"""Checkpoints of the Lever-Plus project, both ways.

Two forms, both written by `torch.save`:

- `.pt` (`rce_epoch5.pt`, `grpo_epoch2.pt`): a dictionary with `model_state_dict`. Its names are those of this package.
- `.ckpt` ("v2format", what that project's inference scripts load): a dictionary with `state_dict`. Its names begin with
  `lever_lm.pointer_selector.`, and the one attention layer is called `cross_attn` and `attn_norm`.

Neither form holds the number of attention heads, the temperature or the dropout. A wrong number of heads loads without
an error and picks other demonstrations, so the caller must give all three. Where the width equals the hidden width,
those selectors have no `input_proj`: it is the identity.

Nothing in a file is executed: it is read with `weights_only=True`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selector.config import SelectorConfig
from selector.errors import CheckpointError, SettingsError, first_line
from selector.model import PointerSelector, check_size
from selector.torch_file import torch_problem

HEADS, TEMPERATURE = 1, 0.1
"""Of every selector of that project. Its code has them as constants."""
PREFIX = "lever_lm.pointer_selector."
LAYER = re.compile(r"cross_attn_layers\.(\d{1,4})\.in_proj_weight")
OTHER_DECODERS = ("decoder_gru", "step_emb", "div_lambda", "cand_encoder", "attn_Wq", "bilinear", "topic_prototypes")


class Form(StrEnum):
    """How a checkpoint of that project is laid out, by its suffix."""

    STATE = ".pt"
    V2 = ".ckpt"


# Reading ----------------------------------------------------------------------------------------------------------


def read_selector(file: Path, *, heads: int, temperature: float, dropout: float) -> PointerSelector:
    """Read a checkpoint of either form, on the CPU, in evaluation mode.

    Args:
        file: its content decides the form, not its suffix.
        heads: attention heads. 1 in that project; the file does not say.
        temperature: divides the logits. 0.1 in that project; the file does not say.
        dropout: for training on. The file does not say.

    Returns:
        The selector in float32. Width, hidden width, layers and decoder are those of the file.

    Raises:
        CheckpointError: the file is unreadable, is none of these forms, or holds another kind of selector.
        SettingsError: heads, temperature or dropout is impossible for this selector.
    """
    weights = _renamed(_state(_load(file), file), file)
    matrix, projection = weights.get("query_proj.weight"), weights.get("input_proj.weight")
    if matrix is None or matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise CheckpointError(f"{file}: has no square matrix query_proj.weight: not a pointer selector")
    hidden = len(matrix)
    if projection is not None and (projection.dim() != 2 or len(projection) != hidden or not projection.shape[1]):
        raise CheckpointError(f"{file}: input_proj.weight is {tuple(projection.shape)}, expected ({hidden}, width)")
    width = hidden if projection is None else projection.shape[1]
    weights.setdefault("input_proj.weight", torch.eye(hidden))
    layers = sum(LAYER.fullmatch(name) is not None for name in weights)
    decoder = "gate" if "query_update_gate.weight" in weights else "static"
    config = SelectorConfig(width, hidden, layers, heads, decoder, temperature, dropout)
    _check_names(weights, config, file)
    check_size(config, weights, file)
    model = PointerSelector(config)
    model.load_weights(weights, file)
    return model.eval()


def _load(file: Path) -> Mapping[str, Any]:
    try:
        if problem := torch_problem(file):
            raise CheckpointError(f"{file}: {problem}")
        content = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror or first_line(error)})") from None
    except Exception as error:
        if "Weights only load failed" in str(error):
            text = (
                "holds Python objects besides tensors and numbers, which are not loaded, for they could run code; "
                "in the environment that wrote it, save a dictionary with model_state_dict alone"
            )
        else:
            text = f"is not a file of torch.save, or damaged ({type(error).__name__})"
        raise CheckpointError(f"{file}: {text}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: holds a {type(content).__name__}; expected a dictionary with model_state_dict")
    return content


def _state(content: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """The tensors, whatever they are wrapped in, as dense float32."""
    state = content.get("model_state_dict", content.get("state_dict", content))
    if not isinstance(state, dict):
        raise CheckpointError(f"{file}: its state is a {type(state).__name__}; expected a dictionary of tensors")
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{file}: {name!r} is no tensor; expected model_state_dict or state_dict")
        found[name] = _dense(value, f"{file}: {name}")
    return found


def _dense(value: Tensor, place: str) -> Tensor:
    """The tensor in float32. A file may claim a huge tensor over a few bytes; that is refused before it is made."""
    if value.layout is not torch.strided or not value.is_floating_point() or value.device.type != "cpu":
        raise CheckpointError(f"{place} is a {value.layout} tensor of {value.dtype}; expected dense floats")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{place} claims {tuple(value.shape)}, more than the file holds")
    dense = value.detach().to(torch.float32).contiguous()
    if not dense.isfinite().all():
        raise CheckpointError(f"{place} holds NaN or infinity")
    return dense


def _renamed(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """By the names of this package. Weights of other parts of a whole model (its CLIP towers) are left out."""
    prefixed = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
    found = {}
    for name, value in (prefixed or state).items():
        for before, after in (("cross_attn.", "cross_attn_layers.0."), ("attn_norm.", "attn_norms.0.")):
            if name.startswith(before):
                name = after + name.removeprefix(before)
        if name in found:
            raise CheckpointError(f"{file}: holds {name} twice, under both names of the first layer")
        found[name] = value
    return found


def _check_names(weights: dict[str, Tensor], config: SelectorConfig, file: Path) -> None:
    """Refuse another kind of selector by what it is, before a model of its size is made."""
    if other := [word for word in OTHER_DECODERS if any(word in name for name in weights)]:
        raise CheckpointError(
            f"{file}: holds {other[0]}: a selector with another decoder; known are static and the gate "
            "(query_update_gate)"
        )
    expected = set(_names(config))
    missing, unknown = sorted(expected - weights.keys()), sorted(weights.keys() - expected)
    if missing or unknown:
        parts = [f"{word} {', '.join(names[:3])}" for word, names in (("no", missing), ("also", unknown)) if names]
        raise CheckpointError(f"{file}: not a pointer selector of {config.layers} layers: holds {' and '.join(parts)}")


def _names(config: SelectorConfig) -> list[str]:
    layer = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    return [
        *(f"{name}.weight" for name in ("input_proj", "query_proj", "cand_proj")),
        *(f"cross_attn_layers.{number}.{name}" for number in range(config.layers) for name in layer),
        *(f"attn_norms.{number}.{name}" for number in range(config.layers) for name in ("weight", "bias")),
        *(["query_update_gate.weight", "query_update_gate.bias"] if config.decoder == "gate" else []),
    ]


# Writing ----------------------------------------------------------------------------------------------------------


def write_selector(model: PointerSelector, file: Path, *, epoch: int = 0, phase: str = "grpo") -> None:
    """Write a selector for that project's own code. The suffix of the file decides the form.

    Args:
        model: what is written, in float32.
        file: `.pt` or `.ckpt`. Replaced if it exists; a half-written file is never there.
        epoch: stored for people who look.
        phase: `rce` or `grpo`, stored in `.pt`.

    Raises:
        SettingsError: the form cannot carry this selector, so that their code would pick other demonstrations.
    """
    forms = [form.value for form in Form]
    if file.suffix not in forms:
        raise SettingsError(f"{file}: a checkpoint of Lever-Plus ends in {' or '.join(forms)}")
    form = Form(file.suffix)
    state = _carried(model, form)
    content: dict[str, Any] = {"epoch": epoch, "phase": phase, "model_state_dict": state, "kl_beta": 0.0, "metrics": {}}
    if form is Form.V2:
        content = {
            "epoch": epoch,
            "global_step": 0,
            "pytorch-lightning_version": "2.0.0",
            "state_dict": {PREFIX + _v2_name(name): value for name, value in state.items()},
            "hyper_parameters": {"lr": 1e-4, "weight_decay": 1e-3, "warm_steps": 0.05},  # asked for, and not used
        }
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as folder:
        whole = Path(folder) / file.name
        torch.save(content, whole)
        whole.replace(file)


def _carried(model: PointerSelector, form: Form) -> dict[str, Tensor]:
    """The weights as that project's class has them. Raises SettingsError where it would compute something else."""
    config = model.config
    if config.heads != HEADS:
        raise SettingsError(
            f"Lever-Plus has {HEADS} attention head and its files no place for another number; this selector has "
            f"{config.heads}: train with model.heads {HEADS}"
        )
    if config.temperature != TEMPERATURE:
        raise SettingsError(
            f"Lever-Plus has the temperature {TEMPERATURE}, and its files no place for another one; this selector has "
            f"{config.temperature}: train with model.temperature {TEMPERATURE}"
        )
    if config.layers < 1 or (form is Form.V2 and config.layers > 1):
        allowed = "exactly one attention layer" if form is Form.V2 else "at least one attention layer"
        raise SettingsError(f"a {form.value} file of Lever-Plus has {allowed}; this selector has {config.layers}")
    state = {name: value.detach().cpu().float().clone() for name, value in model.state_dict().items()}
    if config.width != config.hidden:
        return state
    if not torch.equal(state.pop("input_proj.weight"), torch.eye(config.hidden)):
        raise SettingsError(
            f"the selectors of Lever-Plus have no input projection where width and hidden width are both "
            f"{config.width}; this one has learnt one: train with another model.hidden"
        )
    return state


def _v2_name(name: str) -> str:
    return name.replace("cross_attn_layers.0.", "cross_attn.").replace("attn_norms.0.", "attn_norm.")

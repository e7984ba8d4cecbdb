"""Whether a folder can be a checkpoint of some kind at all, by its small files and the headers of its weights.

Needs no transformers. What only transformers can say is asked by `sweep.vlm.engine.loading.check_model`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from safetensors import SafetensorError, safe_open

from selector.errors import UserError, first_line
from selector.files import is_leftover, lfs_problem
from sweep.settings.vlm import DEMO_MODEL, ModelSettings, Precision, demo_model_folder

MODEL_TYPE = "qwen2_5_vl"
CONFIG, WEIGHTS, INDEX, ADAPTER = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
)
LARGEST_SMALL_FILE = 64 * 2**20
"""Of configurations, tokenizers and templates, in bytes: the tokenizer of Qwen2.5-VL takes 11 MB."""
_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.jinja", "spiece.model")
_SMALL = ("*.json", "*.txt", "*.jinja")
_COUNTS = {"num_hidden_layers", "depth", "num_labels"}
_WRAPPED = {
    "module.": "from a model wrapped for several GPUs; save `model.module` instead",
    "base_model.model.": "from a PEFT model; call `merge_and_unload()` on it and save what that returns",
    "_orig_mod.": "from a compiled model; save the model as it was before `torch.compile`",
    "_fsdp_wrapped_module.": "from a model wrapped by FSDP; save its full state dict",
}
_NO_WEIGHTS = (
    ("*.bin", "a pickle, which can run code when it is read", "load it where it was made and `save_pretrained` it"),
    ("*.pt*", "a pickle, which can run code when it is read", "load it where it was made and `save_pretrained` it"),
    ("*.gguf", "in the form of llama.cpp", "use the checkpoint that it was made from"),
)


class ModelError(UserError):
    """The vision-language model cannot be loaded."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Models that can be used for something.

    Attributes:
        types: `model_type` of config.json.
        name: for people.
        does: what it is used for, as in `can answer`.
        names: how its weights begin.
        section: where a space names the model.
    """

    types: tuple[str, ...]
    name: str
    does: str
    names: tuple[str, ...]
    section: str


QWEN = Kind((MODEL_TYPE,), "Qwen2.5-VL", "answer", ("model.", "visual.", "lm_head.", "language_model."), "vlm.model")


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor of a checkpoint, by the header of its file: its shape and where it is."""

    shape: tuple[int, ...]
    file: Path


def check_checkpoint(folder: Path, kind: Kind = QWEN) -> dict[str, Weight]:
    """Look at the configuration and at the headers of the weights. The weights themselves are not read.

    Args:
        folder: the checkpoint's.
        kind: what it must be.

    Returns:
        The weights by the names that they have in their files.

    Raises:
        ModelError: another kind of model, an adapter, quantised or wrapped weights, no weights, a shard that is
            missing, or a file that is damaged, truncated or a pointer of Git LFS.
    """
    check_small_files(folder)
    file = folder / CONFIG
    if (folder / ADAPTER).exists():
        base = read_json(folder / ADAPTER, needed=True).get("base_model_name_or_path")
        raise ModelError(
            f"{folder}: holds an adapter ({ADAPTER}, base model {base!r}), which is not read; merge it into its base "
            "model (PEFT: `merge_and_unload()`) and name the folder that `save_pretrained` then writes"
        )
    if not file.exists():
        raise ModelError(f"{file}: no such file; expected a folder with a {kind.name} checkpoint")
    config = read_json(file, needed=True)
    if config.get("model_type") not in kind.types:
        types = " or ".join(map(repr, kind.types))
        raise ModelError(
            f"{file}: model_type is {config.get('model_type')!r}; only {kind.name} ({types}) can {kind.does}"
        )
    if config.get("quantization_config"):
        stored = config["quantization_config"]
        method = stored.get("quant_method") if isinstance(stored, dict) else stored
        raise ModelError(
            f"{file}: the weights are quantised ({method}); only plain weights are read: name the checkpoint that "
            "they were made from, and choose its format with {kind.section}.precision"
        )
    weights = {name: weight for part in _weight_files(folder) for name, weight in _weights(part)}
    _check_names(folder, weights, kind)
    _check_counts(file, config, len(weights))
    return weights


def check_small_files(folder: Path) -> None:
    """Refuse configurations, tokenizers and templates that are pointers of Git LFS or absurdly large. ModelError."""
    for file in sorted(file for pattern in _SMALL for file in folder.glob(pattern) if not is_leftover(file.name)):
        if problem := lfs_problem(file):
            raise ModelError(f"{file}: {problem}")
        if file.stat().st_size > LARGEST_SMALL_FILE:
            raise ModelError(f"{file}: {file.stat().st_size:,} bytes; above {LARGEST_SMALL_FILE:,} it is not read")


def _weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads: one, or the shards of an index.

    Every shard that the index names is there.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if not (folder / INDEX).exists():
        raise ModelError(f"{folder}: {_instead_of_weights(folder)}")
    index = read_json(folder / INDEX, needed=True).get("weight_map")
    names = sorted({str(name) for name in index.values()}) if isinstance(index, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise ModelError(f"{folder / INDEX}: has no weight_map that names files of this folder; fetch it again")
    lost = [name for name in names if not (folder / name).exists()]
    if lost:
        raise ModelError(
            f"{folder}: {len(lost)} of the {len(names)} files of weights that {INDEX} names are missing, {lost[0]} the "
            "first; fetch or copy them"
        )
    return [folder / name for name in names]


def _instead_of_weights(folder: Path) -> str:
    shards = [file.name for file in folder.glob("*.safetensors") if not is_leftover(file.name)]
    if shards:
        return f"holds {min(shards)}, but neither {WEIGHTS} nor {INDEX}; fetch or copy the missing file"
    for pattern, what, remedy in _NO_WEIGHTS:
        found = sorted(file.name for file in folder.glob(pattern) if not is_leftover(file.name))
        if found:
            return f"holds no *.safetensors; {found[0]} is {what}, and is not read: {remedy}"
    return "holds no *.safetensors; other weight files are not read"


def _weights(part: Path) -> Iterator[tuple[str, Weight]]:
    if problem := lfs_problem(part):
        raise ModelError(f"{part}: {problem}")
    try:
        with safe_open(part, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dictionary)
                yield name, Weight(tuple(file.get_slice(name).get_shape()), part)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{part}: damaged or incomplete ({first_line(error)}); fetch or copy it again") from None


def _check_counts(file: Path, config: dict[str, Any], weights: int) -> None:
    """Refuse numbers of which transformers makes as many objects, where there are not so many weights."""
    for section in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name in _COUNTS & section.keys():
            count = section[name]
            if not isinstance(count, int) or not 0 <= count <= max(weights, 16):
                raise ModelError(
                    f"{file}: {name} is {count!r}, and the files hold {weights} weights; the checkpoint is incomplete, "
                    "or config.json is another one's"
                )


def _check_names(folder: Path, weights: dict[str, Weight], kind: Kind) -> None:
    """Refuse weights that would not be found under the names that the model has for them."""
    for name, weight in weights.items():
        for prefix, story in _WRAPPED.items():
            if name.startswith(prefix):
                raise ModelError(f"{weight.file}: its weights are named {name}, so they were saved {story}")
        if ".lora_" in name or name.endswith((".qweight", ".qzeros", ".SCB", ".weight_packed")):
            what = "of an adapter that was not merged" if ".lora_" in name else "quantised"
            raise ModelError(f"{weight.file}: holds {name}, a weight that is {what}; only plain weights are read")
    if not any(name.startswith(kind.names) for name in weights):
        first = f"{min(weights)} the first" if weights else "it holds none"
        raise ModelError(f"{folder}: no weight is named as those of a {kind.name} are ({first})")


def read_json(file: Path, needed: bool) -> dict[str, Any]:
    """A JSON object. Empty where the file is missing and not needed. Raises ModelError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if needed:
            raise ModelError(f"{file}: no such file; expected a checkpoint with it") from None
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not readable JSON ({first_line(error)})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{file}: expected a JSON object")
    return content


def resolve_precision(precision: Precision, kind: str) -> Precision:
    """What `auto` means on a kind of device: bfloat16 on `cuda`, float32 elsewhere."""
    if precision is not Precision.AUTO:
        return precision
    return Precision.BFLOAT16 if kind == "cuda" else Precision.FLOAT32


def resolve_folder(settings: ModelSettings) -> Path:
    """The checkpoint's folder. A hub name is fetched into the hub's cache, or taken from it when there is no network.

    Raises:
        ModelError: no such folder, no such name, or not in the cache and not to be had.
    """
    if settings.path == DEMO_MODEL:
        return _existing(demo_model_folder(), "the demo model is missing from this installation")
    given = Path(settings.path).expanduser()
    if is_folder_name(settings.path):
        return _existing(given, f"model {settings.path}: no such folder; expected a folder or a hub name (owner/name)")
    return _fetched(settings.path, settings.revision)


def is_folder_name(path: str) -> bool:
    """Whether `path` of a model names a folder, and not something on the hub."""
    given = Path(path).expanduser()
    return given.exists() or given.is_absolute() or path.startswith((".", "~")) or path.count("/") != 1


def _existing(folder: Path, problem: str) -> Path:
    if not folder.is_dir():
        raise ModelError(problem if not folder.exists() else f"model {folder}: is a file; expected a folder")
    return folder


def _fetched(name: str, revision: str | None) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(_FETCHED)))
    except huggingface_hub.errors.HFValidationError:
        problem = "no such folder, and not a hub name (owner/name)"
    except huggingface_hub.errors.GatedRepoError:
        problem = "the hub wants you to accept its terms and to log in (hf auth login)"
    except huggingface_hub.errors.RepositoryNotFoundError:
        problem = "the hub knows no such model (or it is private: hf auth login)"
    except huggingface_hub.errors.RevisionNotFoundError:
        problem = f"the hub knows no revision {revision}"
    except huggingface_hub.errors.LocalEntryNotFoundError:
        problem = "no such folder; as a hub name it is not in the cache, and the hub cannot be reached"
    except (huggingface_hub.errors.HfHubHTTPError, OSError) as error:
        problem = f"cannot be fetched from the hub ({first_line(error)})"
    raise ModelError(f"model {name}: {problem}")

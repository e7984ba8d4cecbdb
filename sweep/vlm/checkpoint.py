"""Whether a folder can be a Qwen2.5-VL checkpoint at all, by its small files. Light: asked long before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
from safetensors import SafetensorError, safe_open

from selector.errors import UserError, first_line
from sweep.settings.vlm import DEMO_MODEL, ModelSettings, Precision, demo_model_folder

MODEL_TYPE = "qwen2_5_vl"
CONFIG = "config.json"
_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.jinja")


class ModelError(UserError):
    """The vision-language model cannot be loaded."""


def check_checkpoint(folder: Path) -> None:
    """Look at the configuration and at the headers of the weights. The weights themselves are not read.

    Raises:
        ModelError: another kind of model, no weights, or a damaged or truncated file of weights.
    """
    file = folder / CONFIG
    kind = read_json(file, needed=True).get("model_type")
    if kind != MODEL_TYPE:
        raise ModelError(f"{file}: model_type is {kind!r}; only Qwen2.5-VL ({MODEL_TYPE!r}) can answer")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{folder}: holds no *.safetensors; other weight files are not read")
    for part in weights:
        try:
            with safe_open(part, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{part}: damaged or incomplete ({first_line(error)}); fetch or copy it again") from None


def read_json(file: Path, needed: bool) -> dict[str, Any]:
    """A JSON object. Empty where the file is missing and not needed. Raises ModelError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if needed:
            raise ModelError(f"{file}: no such file; expected a folder with a Qwen2.5-VL checkpoint") from None
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
    looks_local = given.is_absolute() or settings.path.startswith((".", "~")) or settings.path.count("/") != 1
    if given.exists() or looks_local:
        return _existing(given, f"model {settings.path}: no such folder; expected a folder or a hub name (owner/name)")
    return _fetched(settings.path, settings.revision)


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

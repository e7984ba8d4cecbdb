"""Whether a folder can be a Qwen2.5-VL checkpoint at all, by its small files. Light: asked long before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from selector.errors import first_line
from sweep.vlm.locating import ModelError

MODEL_TYPE = "qwen2_5_vl"
CONFIG = "config.json"


def check_checkpoint(folder: Path) -> None:
    """Look at the configuration and at the headers of the weights; the weights themselves are not read.

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
    """A JSON object; empty where the file is missing and not needed. Raises ModelError."""
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

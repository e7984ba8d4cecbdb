"""Stored selectors: `model.safetensors` and a `manifest.json` beside it that says where it comes from.

The manifest holds the SHA-256 of every other file of its folder. Folders appear whole or not at all. A folder without a
valid manifest does not count as a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import safetensors.torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from selector.errors import CheckpointError, printable
from selector.model import CONFIG_FILE, WEIGHTS_FILE
from selector.reports import EpochReport
from selector.tensors import read_tensors
from sweep.storage.hashes import file_hash
from sweep.storage.outage import is_outage
from sweep.storage.path import StoredPath, json_text

MANIFEST_FILE = "manifest.json"
FORMAT = "sweep-checkpoint/1"
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "epoch": {
        "sha256": (str,),
        "run": (str,),
        "trial": (int,),
        "step": (int,),
        "seed": (int,),
        "stage": (str,),
        "metrics.val_loss": (float, int),
        "metrics.val_reward": (float, int),
        "rce.digest": (str,),
    },
    "rce": {"sha256": (str,), "seed": (int,), "reports": (list,), "key.settings.rce.keep": (str,)},
    "given": {"sha256": (str,), "source.name": (str,), "source.sha256": (str,)},
    "resume": {"epoch": (int,), "numbers": (dict,), "history": (list,)},
}
"""What is read of a manifest of each kind, by dotted path."""
REPORTS = {"rce": "reports", "resume": "history"}
"""Where a manifest of a kind holds reports of epochs."""
KINDS = {"best": "epoch", "rce": "rce", "given": "given", "resume": "resume"}
"""Which kind stands in a run's folder of this name."""
LARGEST = 2**63 - 1
_REPORTS = TypeAdapter(list[EpochReport])


def write_checkpoint(
    folder: StoredPath, tensors: dict[str, Tensor], manifest: dict[str, Any], config: dict[str, Any] | None = None
) -> None:
    """Store tensors, manifest (format, file names and hashes filled in) and the selector's config as one folder."""
    with folder.new_folder() as temporary:
        weights = temporary / WEIGHTS_FILE
        # safetensors refuses tensors that share memory or are not contiguous.
        content = safetensors.torch.save({name: value.contiguous() for name, value in tensors.items()})
        weights.write_bytes(content)  # not save_file, which turns a full disk into an error of its own kind
        others = {}
        if config is not None:
            (temporary / CONFIG_FILE).write_text(json_text(config), encoding="utf-8")
            others[CONFIG_FILE] = file_hash(temporary / CONFIG_FILE)
        hashes = {"file": WEIGHTS_FILE, "sha256": file_hash(weights), "files": others}
        stored = {"format": FORMAT, **hashes, **manifest}
        (temporary / MANIFEST_FILE).write_text(json_text(stored), encoding="utf-8")


def read_manifest(folder: StoredPath) -> dict[str, Any]:
    """The manifest of a checkpoint folder. Raises CheckpointError if it is missing or not ours."""
    return _checked(folder, (folder / MANIFEST_FILE).read_bytes)


def _checked(folder: StoredPath, read: Callable[[], bytes]) -> dict[str, Any]:
    file = folder / MANIFEST_FILE
    try:
        manifest = json.loads(read().decode())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and is_outage(error):
            raise
        raise CheckpointError(f"{file}: not readable as a checkpoint's manifest ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{file}: format is not {FORMAT!r}: written by another program or version")
    kind = str(manifest.get("kind"))
    if kind != KINDS.get(folder.parent.name, kind):
        raise CheckpointError(f"{file}: kind is not {KINDS[folder.parent.name]!r}: altered or damaged")
    for path, kinds in FIELDS.get(kind, {}).items():
        value: Any = manifest
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, kinds) or isinstance(value, bool) or not _is_usable(value):
            raise CheckpointError(f"{file}: {path} is missing or of another type: altered or damaged")
    others = manifest.get("files", {})
    if not isinstance(others, dict) or others.keys() - {CONFIG_FILE}:
        raise CheckpointError(f"{file}: files names more than {CONFIG_FILE}: altered or damaged")
    if kind in REPORTS:
        read_reports(manifest[REPORTS[kind]], folder)
    return manifest


def _is_usable(value: Any) -> bool:  # noqa: ANN401 (any JSON value)
    """Whether a number can become a float, and a text be written."""
    return abs(value) <= LARGEST if isinstance(value, int) else not isinstance(value, str) or printable(value) == value


def read_checkpoint(folder: StoredPath) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and manifest. All hashes are checked. Raises CheckpointError if anything is missing or altered."""
    manifest = check_files(folder)
    return read_tensors(folder.local() / WEIGHTS_FILE), manifest


def check_files(folder: StoredPath) -> dict[str, Any]:
    """The manifest, if all files have the hashes that it names. Nothing else is read of them.

    Raises:
        CheckpointError: a file is missing or altered.
    """
    copy = folder.local()
    manifest = _checked(folder, (copy / MANIFEST_FILE).read_bytes)
    for name, expected in hashes_of(manifest).items():
        if not (copy / name).is_file():
            raise CheckpointError(f"{folder / name}: missing, though {MANIFEST_FILE} is there")
        if file_hash(copy / name) != expected:
            raise CheckpointError(f"{folder / name}: its SHA-256 is not the one in {MANIFEST_FILE}: altered or damaged")
    return manifest


def hashes_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """SHA-256 of the other files of a checkpoint, by name. Up to version 0.1 a manifest names the weights alone."""
    return {WEIGHTS_FILE: manifest.get("sha256"), **manifest.get("files", {})}


def read_reports(values: list[Any], folder: StoredPath) -> list[EpochReport]:
    """Reports of the epochs from the first one on, out of a manifest. Raises CheckpointError if they are none."""
    return reports_of(values, folder / MANIFEST_FILE)


def reports_of(values: list[Any], file: StoredPath) -> list[EpochReport]:
    """The same, out of any file."""
    try:
        reports = _REPORTS.validate_json(json.dumps(values), strict=True)  # strict, and yet the text of an enum is one
    except RecursionError:
        raise CheckpointError(f"{file}: reports are nested too deeply: altered or damaged") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{file}: report {where}: {first['msg']}: altered or damaged") from error
    if [report.step for report in reports] != list(range(1, len(reports) + 1)):
        raise CheckpointError(f"{file}: its reports are not those of epochs 1 to {len(reports)}: altered or damaged")
    return reports

"""Selectors from elsewhere that a space or a command names: folders of ours, and checkpoints of Lever-Plus.

A run keeps a copy of each that it uses, named by the hash of its weights. So it can be continued and verified where the
file that was named is gone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from selector.errors import CheckpointError
from selector.hashes import content_hash
from selector.lever_plus import HEADS, TEMPERATURE, Form, read_selector
from selector.model import CONFIG_FILE, WEIGHTS_FILE, PointerSelector
from sweep.runs.paths import RunPaths
from sweep.storage.hashes import file_hash
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath
from sweep.trials.checkpoints import MANIFEST_FILE, read_checkpoint, read_manifest, write_checkpoint

HASH = re.compile(r"[0-9a-f]{64}")
"""What names a copy. A record that names another folder may be a stranger's."""


@dataclass(frozen=True, eq=False)
class Given:
    """A selector from elsewhere.

    Attributes:
        model: on the CPU, in evaluation mode.
        name: last part of the path of the file or folder.
        source: SHA-256 of the file; of a folder, of its weights.
        lineage: the manifest of a folder that has one.
    """

    model: PointerSelector
    name: str
    source: str
    lineage: dict[str, Any] | None = None

    @cached_property
    def sha256(self) -> str:
        """Of its weights as a safetensors file. An export of ours has the hash of its trial's checkpoint."""
        tensors = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        return content_hash([safetensors.torch.save(tensors)])


def is_lever_plus(checkpoint: Path) -> bool:
    """Whether the name is that of a file of Lever-Plus, which does not say all of a selector."""
    return checkpoint.suffix in {form.value for form in Form}


def read_given(checkpoint: Path, heads: int | None, temperature: float, dropout: float) -> Given:
    """Read a selector from elsewhere. Nothing in a file is executed.

    Args:
        checkpoint: a folder with `model.safetensors` and `config.json`, or a `.pt` or `.ckpt` file of Lever-Plus.
        heads: attention heads, for a file of Lever-Plus. It does not say them, and a wrong number picks otherwise.
        temperature: of such a file, likewise.
        dropout: of such a file, likewise.

    Raises:
        CheckpointError: there is no such selector, it is damaged, or `heads` is missing.
        SettingsError: the three are impossible for it.
    """
    if checkpoint.is_dir():
        return _of_folder(checkpoint)
    if not checkpoint.is_file():
        raise CheckpointError(f"{checkpoint}: does not exist; name a folder with {WEIGHTS_FILE}, or a file")
    if not is_lever_plus(checkpoint):
        raise CheckpointError(
            f"{checkpoint}: neither a folder with {WEIGHTS_FILE} and {CONFIG_FILE}, nor a file of Lever-Plus "
            f"({', '.join(form.value for form in Form)})"
        )
    if heads is None:
        raise CheckpointError(
            f"{checkpoint}: such a file does not hold the number of attention heads, and a wrong one picks other "
            "demonstrations without an error; say heads (Lever-Plus: 1)"
        )
    model = read_selector(checkpoint, heads=heads, temperature=temperature, dropout=dropout)
    return Given(model, checkpoint.name, file_hash(checkpoint))


def read_whole(checkpoint: Path, heads: int | None, temperature: float | None, dropout: float | None) -> Given:
    """As `read_given`, where everything counts that a file of Lever-Plus does not hold: None is refused, by name."""
    if is_lever_plus(checkpoint) and checkpoint.is_file():
        said = {"heads": heads, "temperature": temperature, "dropout": dropout}
        if lacking := [f"--{name}" for name, value in said.items() if value is None]:
            raise CheckpointError(
                f"{checkpoint}: such a file does not hold what {', '.join(lacking)} say, and a wrong number of heads "
                f"picks other demonstrations without an error (Lever-Plus: --heads {HEADS} --temperature {TEMPERATURE})"
            )
    return read_given(checkpoint, heads, temperature or TEMPERATURE, dropout or 0.0)


def _of_folder(folder: Path) -> Given:
    stored, lineage = stored_at(folder), None
    if (folder / MANIFEST_FILE).exists():
        lineage = read_checkpoint(stored)[1]  # its hashes are checked
    model = PointerSelector.from_pretrained(folder)
    return Given(model, folder.resolve().name, file_hash(folder / WEIGHTS_FILE), lineage)


# In a run -------------------------------------------------------------------------------------------------------------


def keep_given(paths: RunPaths, given: Given) -> None:
    """Store a copy in the run, once."""
    folder = paths.given_folder / given.sha256
    if (folder / MANIFEST_FILE).exists():
        return
    source = {"name": given.name, "sha256": given.source, "lineage": given.lineage}
    write_checkpoint(folder, given.model.state_dict(), {"kind": "given", "source": source}, given.model.config_dict())


def kept_given(paths: RunPaths, sha256: str) -> Given | None:
    """The run's copy by the hash of its weights. None if there is none. Raises CheckpointError if it is damaged."""
    folder = paths.given_folder / sha256
    if not HASH.fullmatch(sha256) or not (folder / MANIFEST_FILE).exists():
        return None
    source = _checked(folder, sha256)["source"]
    model = PointerSelector.from_pretrained(folder.local())
    return Given(model, source["name"], source["sha256"], source.get("lineage"))


def all_kept(paths: RunPaths) -> dict[str, Given]:
    """All copies of a run by their hashes. Damaged ones are left out, as others say what is wrong with them."""
    found = {}
    for file in paths.given_folder.glob(f"[!.]*/{MANIFEST_FILE}"):
        try:
            given = kept_given(paths, file.parent.name)
        except CheckpointError:
            continue
        if given is not None:
            found[file.parent.name] = given
    return found


def given_weights(paths: RunPaths, sha256: str) -> dict[str, Tensor]:
    """The weights of the run's copy. Raises CheckpointError if it is missing or altered."""
    folder = paths.given_folder / sha256
    _checked(folder, sha256)
    return read_checkpoint(folder)[0]


def _checked(folder: StoredPath, sha256: str) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if manifest["sha256"] != sha256:
        raise CheckpointError(f"{folder}: holds other weights than its name says: altered or damaged")
    return manifest

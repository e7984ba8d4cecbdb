"""A checkpoint's name -> its folder. Light: keys need it where no model is loaded."""

from __future__ import annotations

from pathlib import Path

from selector.errors import UserError, first_line
from sweep.vlm.settings import DEMO_MODEL, ModelSettings, Precision, demo_model_folder

_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.jinja")


class ModelError(UserError):
    """The vision-language model cannot be loaded."""


def resolve_precision(precision: Precision, kind: str) -> Precision:
    """What `auto` means on a kind of device: bfloat16 on `cuda`, float32 elsewhere."""
    if precision is not Precision.AUTO:
        return precision
    return Precision.BFLOAT16 if kind == "cuda" else Precision.FLOAT32


def resolve_folder(settings: ModelSettings) -> Path:
    """The checkpoint's folder; a hub name is fetched into the hub's cache, or taken from it when there is no network.

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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_FETCHED)))
    except HFValidationError:
        problem = "no such folder, and not a hub name (owner/name)"
    except GatedRepoError:
        problem = "the hub wants you to accept its terms and to log in (hf auth login)"
    except RepositoryNotFoundError:
        problem = "the hub knows no such model (or it is private: hf auth login)"
    except RevisionNotFoundError:
        problem = f"the hub knows no revision {revision}"
    except LocalEntryNotFoundError:
        problem = "no such folder; as a hub name it is not in the cache, and the hub cannot be reached"
    except (HfHubHTTPError, OSError) as error:
        problem = f"cannot be fetched from the hub ({first_line(error)})"
    raise ModelError(f"model {name}: {problem}")

"""What a node has, looked at on the node itself. Its counterpart on the driver's side is `fitness`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from selector import hashes
from selector.errors import UserError
from sweep.items import ItemTable
from sweep.items.witness import ImageWitness, difference
from sweep.runs.paths import RunPaths
from sweep.settings.vlm import ModelSettings
from sweep.trials.failures import UnfitNodeError, check_seen
from sweep.vlm.keys import model_identity

PACKAGE = "demonstration-sweep"
PACKAGES = ("torch", "transformers", "ray", "numpy", "pillow", "safetensors")
"""Whose versions must be the driver's. A number may depend on each of them."""
CODE = f"the code of {PACKAGE}"
REMEDY = "install the same on every node"


@dataclass(frozen=True)
class NodeQuestion:
    """What is asked of every node.

    Attributes:
        run: place of the run's folder, and what names the driver's mark in it. None where there is no run.
        models: whose files must be there, with the identity that they have on the driver's machine.
        images: what the driver read of the images that a node may need. None where it needs none.
    """

    run: tuple[str, str] | None
    models: tuple[tuple[ModelSettings, str], ...]
    images: ImageWitness | None


@dataclass(frozen=True)
class NodeReport:
    """What a node answers.

    Attributes:
        code: hash of the code of both packages, 64 hex digits.
        lacks_run: why it cannot write into the run's folder. None if it can.
        lacks_model: what is wrong with the files of a model.
        lacks_images: what is wrong with the images.
    """

    code: str
    lacks_run: str | None
    lacks_model: str | None
    lacks_images: str | None


def report(question: NodeQuestion, items: ItemTable | None) -> NodeReport:
    """Look. `items`: the table whose images are asked about."""
    lacks_images = None if question.images is None or items is None else difference(items, question.images)
    return NodeReport(code_hash(), _lacks_run(question.run), _lacks_model(question), lacks_images)


def installed() -> dict[str, str]:
    """What a node must have as the driver has it: versions by name, and the hash of our code."""
    versions = {name: metadata.version(name) for name in (PACKAGE, *PACKAGES)}
    return {"python": python_version(), **versions, CODE: code_hash()}


def python_version() -> str:
    """Without the part that repairs faults."""
    return ".".join(platform.python_version_tuple()[:2])


def differences(found: Mapping[str, str | None], wanted: Mapping[str, str]) -> list[str]:
    """What is installed here and otherwise on the driver's machine. Builds for CPU and GPU (`2.11.0+cpu`) are equal."""
    return [
        f"{name} is missing" if here is None else f"{name} {_short(here)} is not the driver's {_short(wanted[name])}"
        for name, here in found.items()
        if (here or "").partition("+")[0] != wanted[name].partition("+")[0]
    ]


def check_installed(wanted: Mapping[str, str]) -> None:
    """Refuse to work on a node that joined with other versions. Raises UnfitNodeError.

    Args:
        wanted: what the driver has. Empty: anything goes.
    """
    if wanted and (problems := differences(installed(), wanted)):
        raise UnfitNodeError(f"{'; '.join(problems)}; {REMEDY}")


def _short(version: str) -> str:
    return version[:12] if len(version) == 64 else version


def code_hash() -> str:
    """SHA-256 over all modules of `sweep` and `selector`, by their names, 64 hex digits."""
    parts: list[bytes] = []
    for root in (Path(hashes.__file__).parent, Path(__file__).parents[2]):
        for file in sorted(root.rglob("*.py")):
            parts += [f"{file.relative_to(root.parent).as_posix()}\0".encode(), file.read_bytes()]
    return hashes.content_hash(parts)


def _lacks_run(run: tuple[str, str] | None) -> str | None:
    if run is None:
        return None
    folder, session = run
    try:
        check_seen(RunPaths.at(folder), session)
    except (UserError, OSError) as error:
        return str(error)
    return None


def _lacks_model(question: NodeQuestion) -> str | None:
    for settings, identity in question.models:
        try:
            found = model_identity(settings)
        except UserError as error:
            return str(error)
        if found != identity:
            return f"model {settings.path}: another checkpoint than on the driver's machine"
    return None

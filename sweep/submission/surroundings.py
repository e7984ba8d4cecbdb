"""What a job runs in: the archive, packages, image and variables, as Ray's runtime environment has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sweep.errors import RunError
from sweep.submission.package import DISTRIBUTION

STOP_SECONDS = "RAY_JOB_STOP_WAIT_TIME_S"
PATIENCE = "600"
"""Seconds that a stopped job has for its running epochs. Ray kills it after 3 if nobody says so."""
SAME = "same"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.I)
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?")


@dataclass(frozen=True)
class Surroundings:
    """What workers find beside the code that travels.

    Attributes:
        pip: requirements that each node installs on top of what it has.
        image: a container image that holds everything, this program too. Nothing travels into it.
        variables: environment variables of driver and workers.
        python: the interpreter's command.
    """

    pip: tuple[str, ...] = ()
    image: str | None = None
    variables: tuple[tuple[str, str], ...] = ()
    python: str = "python"

    def runtime(self, archive: Path | None) -> dict[str, Any]:
        """Ray's form. `archive` is what travels."""
        found: dict[str, Any] = {"env_vars": {STOP_SECONDS: PATIENCE, **dict(self.variables)}}
        if archive is not None:
            found["working_dir"] = str(archive)
        if self.pip:
            found["pip"] = list(self.pip)
        if self.image is not None:
            found["image_uri"] = self.image
        return found


def surroundings(pip: Sequence[str], image: str | None, variables: Sequence[str], python: str) -> Surroundings:
    """Check what the options say.

    Raises:
        RunError: an option that cannot be used.
    """
    if pip and image is not None:
        raise RunError("--pip and --image exclude each other: Ray installs nothing into an image")
    return Surroundings(tuple(_requirements(pip)), image, tuple(_variable(one) for one in variables), python)


def _variable(assignment: str) -> tuple[str, str]:
    name, equals, value = assignment.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise RunError(f"--env {name}: expected NAME=VALUE")
    if _SECRET.search(name):
        raise RunError(
            f"--env {name}: everybody who sees the cluster's jobs and logs would see it; give secrets to the nodes "
            "themselves"
        )
    return name, value


def _requirements(values: Sequence[str]) -> list[str]:
    found: list[str] = []
    for value in values:
        if value == SAME:
            found += _own_versions()
        elif value.endswith(".txt"):
            found += _of_file(Path(value))
        else:
            found.append(value)
    return found


def _of_file(file: Path) -> list[str]:
    try:
        lines = [line.split(" #")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"--pip {file}: cannot be read ({error})") from None
    found = [line for line in lines if line and not line.startswith("#")]
    if nested := [line for line in found if line.startswith(("-r", "-c", "--requirement", "--constraint"))]:
        raise RunError(f"--pip {file}: {nested[0]!r} names another file, which does not travel: write its lines here")
    return found


def _own_versions() -> list[str]:
    """What this program needs, in the versions that it has here. Ray is the cluster's own."""
    names = []
    for line in metadata.requires(DISTRIBUTION) or []:
        found = _REQUIREMENT.match(line)
        if found and "extra ==" not in line and found[1].lower() != "ray":
            names.append(found[1])
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]

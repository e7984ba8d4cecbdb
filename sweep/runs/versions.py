"""The versions that a run's numbers may depend on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of all that a number may depend on, and this code's commit where it is a git checkout."""
    found = {
        name: metadata.version(name)
        for name in ("torch", "transformers", "ray", "optuna", "numpy", "pillow", "safetensors")
    }
    return {
        "sweep": metadata.version("demonstration-sweep"),
        "code": _commit(),
        "python": platform.python_version(),
        **found,
    }


def _commit() -> str:
    here = Path(__file__).resolve()
    git = ["git", "-C", os.fspath(here.parent)]
    try:
        # An environment inside of somebody else's checkout must not lend us its commit.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True, timeout=10)  # noqa: S603
        described = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(described, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "not a git checkout"

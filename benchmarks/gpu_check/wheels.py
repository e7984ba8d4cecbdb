"""What the check needs beside torch and transformers, carried along as wheels. Standard library only.

    python -m benchmarks.gpu_check.wheels

fetches them, where there is a network, into `.wheels` (versions from `constraints.txt`). The check itself installs them
into a temporary folder where they are missing, and touches nothing else of the machine.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".wheels"
PYTHON = "3.12"
PLATFORMS = [f"manylinux_2_{number}_x86_64" for number in (28, 27, 17)] + ["manylinux2014_x86_64"]

CARRIED = ("pydantic", "pydantic_core", "annotated-types", "typing-inspection", "typing_extensions")
IMPORTED = ("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions")
NEEDED = ("torch", "transformers", "numpy", "PIL", "pyarrow", "jinja2", "safetensors", "tokenizers")
"""Modules that come with the machine; what is missing of them is named."""


def download() -> int:
    """Fetch all wheels; the exit code of pip."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.whl"):  # two versions of one package cannot be installed
        old.unlink()
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    kind = ["--python-version", PYTHON, "--implementation", "cp", *platforms]
    return subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
            *("--only-binary=:all:", *kind, "--constraint", str(ROOT / "constraints.txt")),
            *("--dest", str(FOLDER), *CARRIED),
        ]
    ).returncode


def missing(modules: tuple[str, ...]) -> list[str]:
    """Those that this Python does not have."""
    return [name for name in modules if find_spec(name) is None]


def install(target: Path) -> str | None:
    """Put the carried wheels where `PYTHONPATH` can name them; what went wrong, as one line."""
    wheels = sorted(FOLDER.glob("*.whl"))
    if not wheels:
        return f"{', '.join(missing(IMPORTED))} missing, and no wheels in {FOLDER.name}/: make gpu-wheels fetches them"
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), *map(str, wheels)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return f"the wheels in {FOLDER.name}/ cannot be installed: {(done.stderr.strip() or '?').splitlines()[-1]}"
    return None


if __name__ == "__main__":
    sys.exit(download())

"""Reads the Dockerfile, for the tests here."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
ENTRYPOINT = DOCKER / "entrypoint.sh"


def program(name: str) -> str:
    """Where a program is that comes with the extra `dev`. A test without it is left out."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it comes with the extra `dev`")
    return found


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword, and all that follows as one line."""

    keyword: str
    text: str


def instructions() -> list[Instruction]:
    """All instructions of the Dockerfile, without comments, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def texts(keyword: str) -> list[str]:
    """What follows each instruction of one kind."""
    return [found.text for found in instructions() if found.keyword == keyword]


def copies() -> list[tuple[list[str], str]]:
    """Sources in the repository and target of each COPY; those from another stage are left out."""
    found = []
    for text in texts("COPY"):
        words = shlex.split(text)
        if not any(word.startswith("--from=") for word in words):
            *sources, target = [word for word in words if not word.startswith("--")]
            found.append((sources, target))
    return found


def command(part: str) -> str:
    """The one RUN with this part in it, as the shell there gets it."""
    commands = [text for text in texts("RUN") if part in text]
    assert len(commands) == 1, commands
    return re.sub(r"^(--\S+\s+)+", "", commands[0])

"""Reads Dockerfiles, for the tests here."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
CPU = DOCKER / "Dockerfile.cpu"
GPU = DOCKER / "Dockerfile.gpu"
ENTRYPOINT = DOCKER / "entrypoint.sh"


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword, and all that follows as one line."""

    keyword: str
    text: str


def instructions(file: Path) -> list[Instruction]:
    """All instructions of a Dockerfile, without comments, continued lines joined."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def texts(file: Path, keyword: str) -> list[str]:
    """What follows each instruction of one kind."""
    return [found.text for found in instructions(file) if found.keyword == keyword]


def copies(file: Path) -> list[tuple[list[str], str]]:
    """Sources in the repository and target of each COPY; those from another stage are left out."""
    found = []
    for text in texts(file, "COPY"):
        words = shlex.split(text)
        if not any(word.startswith("--from=") for word in words):
            *sources, target = [word for word in words if not word.startswith("--")]
            found.append((sources, target))
    return found


def pip_command(file: Path) -> str:
    """The one `pip install` of a Dockerfile, as the shell there gets it."""
    commands = [text for text in texts(file, "RUN") if "pip install" in text]
    assert len(commands) == 1, commands
    return re.sub(r"^(--\S+\s+)+", "", commands[0])


def torch_check(file: Path) -> str:
    """The one RUN of a Dockerfile that looks at which torch was installed."""
    commands = [text for text in texts(file, "RUN") if "torch.version.cuda" in text]
    assert len(commands) == 1, commands
    return commands[0]

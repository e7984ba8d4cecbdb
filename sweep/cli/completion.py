"""What a shell completes for the arguments of commands: names of runs and files of spaces. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

COMPLETION = "_SWEEP_COMPLETE"
"""Set by the shell while it asks. Typer names it after the program."""
INSTALLERS = {"--install-completion", "--show-completion"}
RUNS = Path("runs")
SPACES = "search_spaces"
_OF_RUNS = ("resume", "status", "evaluate", "export", "verify", "stop", "reproduce", "watch")
_OF_SPACES = ("run", "validate", "collect", "show-prompt", "show-space")


@dataclass(frozen=True)
class Completed:
    """A completed word, as typer's shells print it."""

    value: str
    type: str = "plain"
    help: str | None = None


class StandIn(TyperCommand):
    """A command as far as completion needs it, without what takes seconds to import."""

    def __init__(self, name: str) -> None:
        super().__init__(name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:  # noqa: ANN401 (click's)
        """The names that begin so."""
        found: list[str] = []
        if self.name in _OF_RUNS:
            found = _runs()
        elif self.name in _OF_SPACES:
            found = sorted(set(_spaces(incomplete)))
        return [Completed(name) for name in found if name.startswith(incomplete)]


def asks_for_options() -> bool:
    """Whether the word to be completed begins an option. Only the command itself knows which there are."""
    words = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()
    place = os.environ.get("COMP_CWORD", "")
    word = words[int(place)] if place.isdecimal() and int(place) < len(words) else "" if place else words[-1]
    return word.startswith("-")


def _runs() -> list[str]:
    """Names of the runs below `runs`, the newest first."""
    files = sorted(RUNS.glob("[!._]*/run.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    return [file.parent.name for file in files]


def _spaces(incomplete: str) -> Iterator[str]:
    """YAML files and folders that begin so, and the spaces that ship."""
    folder = Path(incomplete).parent if not incomplete.endswith("/") else Path(incomplete)
    if folder.is_dir():
        for item in folder.iterdir():
            if item.suffix in (".yaml", ".yml"):
                yield str(item)
            elif item.is_dir() and not item.name.startswith("."):
                yield f"{item}/"
    for shipped in resources.files(SPACES).iterdir():
        if shipped.name.endswith(".yaml"):
            yield f"spaces/{shipped.name}"

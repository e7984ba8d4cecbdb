"""A recorded surface."""
from __future__ import annotations
from pathlib import Path


def pack(recorded: Path, surface: Path) -> None:
    """Later."""

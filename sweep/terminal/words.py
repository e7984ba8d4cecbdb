"""Words that live progress and reports share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def brief_params(params: Mapping[str, Any]) -> str:
    """Parameters on one line: the last part of the path, numbers to three digits."""
    return " ".join(f"{_short_name(path)}={_short_value(value)}" for path, value in params.items())


def _short_name(path: str) -> str:
    return ".".join(path.split(".")[-2:]) if path.split(".")[-1] in ("mode", "lr", "epochs") else path.split(".")[-1]


def _short_value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

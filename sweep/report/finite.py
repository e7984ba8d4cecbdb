"""JSON without NaN and infinity. Loads nothing heavy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def document_text(document: Mapping[str, Any]) -> str:
    """A document as it is printed. Numbers that are none are null."""
    return json.dumps(finite(dict(document)), indent=2, allow_nan=False) + "\n"


def finite(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """The same value with null for NaN and infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Words in braces that stand for something. No expressions, so that a space cannot run code or reach into objects."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"\{([A-Za-z_]+)\}")


def check_text(text: str | None, known: set[str], needed: set[str]) -> str | None:
    """The text, if it uses known placeholders only, and at least one of those needed.

    Raises:
        ValueError: names what it may use.
    """
    if text is None:
        return None
    used = set(_NAME.findall(text))
    may = ", ".join(f"{{{name}}}" for name in sorted(known))
    if strange := sorted(used - known):
        raise ValueError(f"{{{strange[0]}}} is not known here; use {may}")
    if not used & needed:
        raise ValueError(f"uses none of {', '.join(f'{{{name}}}' for name in sorted(needed))}")
    return text


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its placeholders replaced; values are not searched for placeholders again."""
    return _NAME.sub(lambda match: values.get(match[1], match[0]), text)

"""Where in a user's data something is wrong, and the typed reading of single JSON values.

One-line messages of the form `file: query 8: pointer of beam 3: what is wrong; what would be right`.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selector.errors import DataError

SHOWN_LENGTH = 60
# Deep or long values are cut while they are written, not afterwards.
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHOWN_LENGTH


def quote(value: object) -> str:
    """A bad value as it may stand in a message: one line, at most about `SHOWN_LENGTH` characters."""
    text = SHORT.repr(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}..."


def file_label(path: Path) -> str:
    """The path as the user gave it. Quoted only if it would break the message's single line."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


@dataclass(frozen=True, slots=True)
class BigInteger:
    """A JSON integer too long for int64, kept as its length so that whoever reads the field can refuse it by name."""

    digits: int

    def __repr__(self) -> str:
        return f"an integer of {self.digits} digits"


@dataclass(frozen=True, slots=True)
class Place:
    """A file, and in it a query (item id or key) and the index of one of its beams, as far as they apply."""

    file: str
    query: int | str | None = None
    beam: int | None = None

    def error(self, text: str, field: str | None = None) -> DataError:
        """The error to raise: `text` says what is wrong and what would be right."""
        parts = [self.file]
        if self.query is not None:
            parts.append(f"query {self.query}")
        of_beam = "" if self.beam is None else f"beam {self.beam}"
        where = " of ".join(part for part in (field, of_beam) if part)
        if where:
            parts.append(where)
        return DataError(": ".join([*parts, text]))

    def read_integers(self, value: object, field: str) -> list[int]:
        """The value as a list of integers that fit int64. Booleans are no integers."""
        if type(value) is not list:
            raise self.error(f"expected a list of integers, found {quote(value)}", field)
        for entry in value:
            if type(entry) is not int:
                raise self.error(f"expected integers, found {quote(entry)}", field)
        return value

    def read_number(self, value: object, field: str, *, allow_bool: bool = False) -> float:
        """The value as a float (possibly NaN or infinite: ranges are checked later, for all forms of data alike)."""
        if type(value) is float or type(value) is int or (allow_bool and type(value) is bool):
            return float(value)
        raise self.error(f"expected a number, found {quote(value)}", field)

    def read_object(self, value: object, field: str | None = None) -> dict[str, Any]:
        """The value as a JSON object without repeated keys."""
        if not isinstance(value, dict):
            raise self.error(f"expected an object, found {quote(value)}", field)
        repeated = getattr(value, "repeated", None)
        if repeated is not None:
            raise self.error(f"the key {quote(repeated)} appears twice", field)
        return value

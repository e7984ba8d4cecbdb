"""JSON files as values, with everything noticed that Python's reader forgives or hides.

Repeated keys become `RepeatedKeys` and long integers `BigInteger`. So the reader of a field can name the query and the
field, and both are harmless in parts of the file that nobody reads. `NaN` and `Infinity` become floats for the same
reason: the range checks refuse them by name.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from selector.data.place import BigInteger, Place, file_label
from selector.files import lfs_problem

PICKLE = b"\x80"  # how a pickle of protocol 2 and later begins
SAFE_DIGITS = 18  # every integer of so many digits fits int64


class RepeatedKeys(dict[str, Any]):
    """An object in which a key stood twice. `repeated` is the first such key."""

    repeated: str


def read_json(path: Path) -> object:
    """Parse a UTF-8 JSON file.

    Raises:
        DataError: missing or unreadable file, a folder, bytes that are not UTF-8, text that is not JSON or ends early.
    """
    place = Place(file_label(path))
    data = read_bytes(path)
    if data.startswith(PICKLE):
        raise place.error("is a Python pickle, which can run code and is not read; expected JSON")
    if not data.strip():
        raise place.error("the file is empty; expected JSON")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise place.error(f"byte {error.start} is not UTF-8; expected a JSON text file") from None
    try:
        content: object = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise place.error(_syntax_message(text, error)) from None
    except RecursionError:
        raise place.error("brackets are nested too deeply to be data") from None
    return content


def read_bytes(path: Path) -> bytes:
    """The content of a file. `DataError` if it is missing, a folder or cannot be read."""
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise Place(file_label(path)).error(f"cannot be read ({error.strerror or type(error).__name__})") from None


def check_file(path: Path) -> None:
    """Raise `DataError` unless `path` is a file that can be looked at, and no pointer of Git LFS."""
    place = Place(file_label(path))
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise place.error("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise place.error(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise place.error(f"is {what}; expected a file")
    if problem := lfs_problem(path):
        raise place.error(problem)


def _syntax_message(text: str, error: json.JSONDecodeError) -> str:
    where = f"line {error.lineno}, column {error.colno}"
    rest = text[error.pos :].strip()
    # The parser reports an open string or a cut-off literal at its start, everything else at the end of the text.
    cut_off_literal = text.lstrip().startswith("{") and len(rest) < len("-Infinity") and not rest.endswith("}")
    if cut_off_literal or error.msg.startswith("Unterminated string"):
        return f"the JSON is truncated at {where} ({error.msg}); was the file written to its end?"
    return f"not JSON at {where} ({error.msg})"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    marked = RepeatedKeys(found)
    marked.repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked


def _integer(text: str) -> int | BigInteger:
    if len(text) <= SAFE_DIGITS:
        return int(text)
    return BigInteger(len(text.lstrip("-")))

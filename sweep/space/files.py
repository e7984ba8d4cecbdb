"""From a command-line argument to a search space: the user's own file, or one that ships with the package."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selector.files import lfs_problem
from sweep.errors import SpaceError
from sweep.space.document import MAX_CHARACTERS, Problem, read_document
from sweep.space.foreign import foreign_problems
from sweep.space.overrides import with_overrides
from sweep.space.problems import problems_of
from sweep.space.search_space import SearchSpace

SHIPPED = "search_spaces"


def shipped_spaces() -> list[str]:
    """File names of the search spaces in the package, sorted."""
    return sorted(item.name for item in resources.files(SHIPPED).iterdir() if item.name.endswith(".yaml"))


def find_space(argument: str) -> tuple[str, str]:
    """The text of a search space and the name to show for it.

    An existing file wins, else a shipped space of the same base name (with or without `.yaml`), so that
    `spaces/grpo.yaml` works anywhere.

    Raises:
        SpaceError: neither exists, or the file cannot be read as text.
    """
    path = Path(argument)
    if path.is_file():
        return _read(path), argument
    name = path.name if path.name.endswith(".yaml") else f"{path.name}.yaml"
    if name in shipped_spaces():
        return resources.files(SHIPPED).joinpath(name).read_text(encoding="utf-8"), f"{SHIPPED}/{name}"
    kind = "is a folder, not a file" if path.is_dir() else "does not exist"
    near = _near_files(path)
    beside = f"; near it: {', '.join(near)}" if near else ""
    raise SpaceError(f"search space {argument!r} {kind}; spaces that ship are {', '.join(shipped_spaces())}{beside}")


def _near_files(path: Path) -> list[str]:
    """Files whose name resembles the missing one, in its folder and the current one."""
    found: list[str] = []
    for folder in dict.fromkeys((path.parent, Path())):
        if folder.is_dir():
            names = [item.name for item in folder.iterdir() if item.suffix in (".yaml", ".yml")]
            found += [str(folder / name) for name in difflib.get_close_matches(path.name, names, n=3)]
    return found


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > 4 * MAX_CHARACTERS:
            raise SpaceError(f"{path}: {path.stat().st_size} bytes; this is no search space")
        content = path.read_bytes()
        if problem := lfs_problem(content):
            raise SpaceError(f"{path}: {problem}")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise SpaceError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise SpaceError(f"{path}: cannot be read: {error.strerror}") from None


def parse_space(text: str, source: str, overrides: Iterable[str] = ()) -> SearchSpace:
    """Parse and check a search space.

    Args:
        text: YAML.
        source: the file's name, for error messages.
        overrides: assignments `PATH=VALUE` that count instead of what the file says (`sweep.space.overrides`).

    Raises:
        SpaceError: every problem that was found, one `file:line: path: ...` per line.
    """
    document = with_overrides(read_document(text, source), overrides)
    try:
        # JSON is the door where pydantic is strict about types and yet takes lists and the text of enums.
        return SearchSpace.model_validate_json(json.dumps(document.value), strict=True)
    except ValidationError as error:
        raise document.error(_problems(error, document.value)) from None


def _problems(error: ValidationError, value: dict[str, Any]) -> list[Problem]:
    """What is wrong. Where a foreign spelling explains a place, what else was found there is left out."""
    foreign = list(foreign_problems(value, frozenset(SearchSpace.model_fields)))
    explained = {item.path for item in foreign}
    found = problems_of(error, value, SearchSpace)
    own = [item for item in found if not any(item.path[:end] in explained for end in range(1, len(item.path) + 1))]
    # A section that is wrong as a whole, while its parts are explained.
    return [*foreign, *(item for item in own if not any(path[: len(item.path)] == item.path for path in explained))]


def load_space(argument: str) -> SearchSpace:
    """`find_space` and `parse_space` in one."""
    return parse_space(*find_space(argument))

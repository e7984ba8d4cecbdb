"""Values that the command line sets instead of the file's: `--set budget.trials=8`.

The path is looked up before anything is parsed, so that a misspelt one is no new key. The value is read as YAML.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sweep.errors import SpaceError
from sweep.space.addresses import addresses
from sweep.space.document import Document, Path, read_document
from sweep.space.locations import paths_below
from sweep.space.nearest import nearest
from sweep.space.search_space import SearchSpace

OPTION = "--set"


@dataclass(frozen=True)
class Override:
    """One assignment.

    Attributes:
        text: as it was written, `PATH=VALUE`.
        path: the keys, where `parameters` is followed by a setting's whole dotted path.
        value: plain values.
    """

    text: str
    path: Path
    value: Any

    @property
    def label(self) -> str:
        """For people. The storage's URL may hold a password, so it is not repeated."""
        return "storage=..." if self.path == ("storage",) else self.text


def with_overrides(document: Document, texts: Iterable[str]) -> Document:
    """The document with other values. A later assignment of a path wins.

    Raises:
        SpaceError: not of the form PATH=VALUE, no such path, or a value that is not YAML.
    """
    value, sources = document.value, dict(document.sources)
    for one in map(parse_override, texts):
        value = _assigned(value, one.path, one.value, section=not _is_mapping(one.path))
        sources[one.path] = f"{OPTION} {one.label}"
    return Document(document.source, value, document.lines, sources)


def merged(old: Iterable[str], new: Iterable[str]) -> tuple[str, ...]:
    """Both, where a new assignment replaces those of its path and below it. Raises SpaceError as `with_overrides`."""
    replaced = [parse_override(text).path for text in new]
    kept = [text for text in old if not any(parse_override(text).path[: len(path)] == path for path in replaced)]
    return (*kept, *new)


def parse_override(text: str) -> Override:
    """Raises SpaceError as `with_overrides`."""
    name, equals, written = text.partition("=")
    if not equals or not name.strip():
        raise SpaceError(f"{OPTION} {text!r}: write PATH=VALUE, such as {OPTION} budget.trials=8")
    path = _path(name.strip(), text)
    # A block scalar would need lines of its own; all else that YAML has on one line is read.
    document = read_document(f"value: {written}\n", f"{OPTION} {text}")
    if set(document.value) != {"value"}:
        raise SpaceError(f"{OPTION} {text!r}: the value must be one YAML value")
    return Override(text, path, document.value["value"])


def _path(name: str, text: str) -> Path:
    """The keys of a dotted name. Raises SpaceError if there is no such place in a space."""
    first, _, rest = name.partition(".")
    if first == "parameters" and rest:
        inside = next((one for one in addresses() if rest == one or rest.startswith(f"{one}.")), None)
        if inside is None:
            raise SpaceError(f"{OPTION} {text}: no such setting of a trial; {nearest(rest, addresses())}")
        below = rest[len(inside) + 1 :]
        return ("parameters", inside, *(below.split(".") if below else ()))
    known = paths_below(SearchSpace)
    if name in known:
        return tuple(name.split("."))
    if name in addresses():
        raise SpaceError(
            f"{OPTION} {text}: {name} is a setting of trials; write `{OPTION} trial.{text}` for all of them, or "
            f"`{OPTION} parameters.{text}` for what varies"
        )
    raise SpaceError(f"{OPTION} {text}: unknown path {name!r}; {nearest(name, known)}")


def _is_mapping(path: Path) -> bool:
    """Whether a path names a setting without keys of ours below it, such as the labels of nodes."""
    name, known = ".".join(map(str, path)), paths_below(SearchSpace)
    return name in known and not any(other.startswith(f"{name}.") for other in known)


def _assigned(values: dict[str, Any], path: Path, value: Any, *, section: bool) -> dict[str, Any]:  # noqa: ANN401
    """A copy with one value replaced. Sections that are missing, or short for their type, are made."""
    key = str(path[0])
    inner = values.get(key)
    if len(path) == 1:
        # `{}` asks for a section with its defaults. One that is there, with more in it, has what was asked for.
        return values if section and value == {} and isinstance(inner, dict) else {**values, key: value}
    if isinstance(inner, str):  # `sampler: tpe`
        inner = {"type": inner}
    return {**values, key: _assigned(inner if isinstance(inner, dict) else {}, path[1:], value, section=section)}

"""Reading a YAML file into plain values with a line number for every key, and nothing that YAML can do besides.

Deviations from PyYAML's safe loader: scalars follow YAML 1.2 (`5e-6` is a float, `on` and `yes` are text, dates are
text). A key given twice is an error, and keys are text. Merge keys and foreign tags are refused. Size, depth and the
number of nodes after aliases are expanded are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from sweep.errors import SpaceError

Path = tuple[str | int, ...]

MAX_CHARACTERS = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_DIGITS = 18  # a 64-bit integer holds them all
MAX_SHOWN = 20
MAX_LINE = 1000  # of a message

_TAG = "tag:yaml.org,2002:"
_RESOLVERS = (
    ("null", r"^(?:~|null|Null|NULL|)$", [*"~nN", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", [*"tTfF"]),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", [*"-+0123456789"]),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        [*"-+0123456789."],
    ),
)


class _Loader(yaml.SafeLoader):
    """Composes nodes only. Constructors of the base class are never run."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (the base class's name; emptied on purpose)
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH}", problem_mark=self.get_mark())
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place of the document. `text` says what is wrong and what would be right."""

    path: Path
    text: str


@dataclass(frozen=True)
class Document:
    """The values of a file (dicts, lists and scalars only) and the line on which each of them stands.

    `sources` names what set a value instead of the file.
    """

    source: str
    value: dict[str, Any]
    lines: dict[Path, int]
    sources: dict[Path, str] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Line of the path, or of its nearest ancestor that the file names. 1 when there is none."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1

    def place(self, path: Path) -> str:
        """`file:line` of a path, or what set it instead."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.sources:
                return self.sources[path[:end]]
        return f"{self.source}:{self.line(path)}"

    def error(self, problems: Iterable[Problem]) -> SpaceError:
        """All problems, `file:line: dotted.path: text` each on a line of its own, in the order of the file."""
        found = {(self.line(one.path), self.place(one.path), dotted(one.path), one.text): None for one in problems}
        rows = sorted(found, key=lambda row: row[0])
        lines = [f"{place}: {path + ': ' if path else ''}{text}" for _, place, path, text in rows]
        lines = [_bounded(line) for line in lines]
        if len(lines) > MAX_SHOWN:
            lines = [*lines[:MAX_SHOWN], f"... and {len(lines) - MAX_SHOWN} more"]
        return SpaceError("\n".join(lines))


def _bounded(line: str) -> str:
    """A long value is cut in the middle: the beginning says what is wrong, the end what would be right."""
    half = MAX_LINE // 2
    return line if len(line) <= MAX_LINE else f"{line[:half]} ... {line[-half:]}"


def dotted(path: Path) -> str:
    """`("enqueue", 0, "grpo.lr")` as `enqueue[0].grpo.lr`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(text: str, source: str) -> Document:
    """Parse YAML text.

    Args:
        text: the whole file.
        source: its name in error messages.

    Raises:
        SpaceError: not YAML, not a mapping at the top, a key twice, or larger than the limits of this module.
    """
    reader = _Reader(source)
    value = reader.mapping(compose(text, source), ())
    return Document(source, value, reader.lines)


def compose(text: str, source: str) -> yaml.MappingNode:
    """The nodes of YAML text, with their places in it. Raises SpaceError as `read_document`."""
    if len(text) > MAX_CHARACTERS:
        raise SpaceError(f"{source}:1: longer than {MAX_CHARACTERS} characters: this is no search space")
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        detail = " ".join(str(part) for part in (error.context, error.problem) if part)
        if "'\\t'" in detail:
            detail = "a tab; indent with spaces"
        elif "mapping values are not allowed" in detail:
            detail += "; put a space after each colon, and quote a text that holds one"
        raise SpaceError(_bounded(f"{source}:{mark.line + 1 if mark else 1}: not valid YAML: {detail}")) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # unprintable characters, impossible escapes
        raise SpaceError(f"{source}:1: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(root, yaml.MappingNode):
        raise SpaceError(f"{source}:1: must be a mapping with keys such as name, parameters and budget")
    return root


class _Reader:
    """Turns nodes into values, counting each visit, so that an alias costs what it expands to."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[Path, int] = {}
        self.nodes = 0

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag != _TAG + "str" or not isinstance(key_node, yaml.ScalarNode):
                merge = isinstance(key_node, yaml.ScalarNode) and key_node.value == "<<"
                hint = "merge keys are not read: write the keys out" if merge else "a key must be text: quote it"
                raise self._error(key_node, path, hint)
            key = self._text(key_node, path)
            if key == "<<":
                raise self._error(key_node, path, "merge keys are not read: write the keys out")
            where = (*path, key)
            if key in result:
                raise self._error(key_node, where, f"given twice, first on line {self.lines[where]}; keep one of them")
            self.lines[where] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, where)
        return result

    def value(self, node: yaml.Node, path: Path) -> Any:  # noqa: ANN401 (any YAML value)
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self._error(
                node, path, f"more than {MAX_NODES} values, or nested deeper than {MAX_DEPTH}, with aliases expanded"
            )
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise self._error(node, path, f"tag {node.tag.removeprefix(_TAG)!r} is not read; write a plain value")

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> bool | int | float | str | None:
        kind = node.tag.removeprefix(_TAG)
        text: str = node.value
        try:
            if kind == "str":
                return self._text(node, path)
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                if len(text) > MAX_DIGITS:
                    raise self._error(node, path, f"an integer of more than {MAX_DIGITS} characters")
                return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except (ValueError, KeyError):
            raise self._error(node, path, f"{text!r} is not of type {kind}") from None
        raise self._error(node, path, f"tag {kind!r} is not read; write a plain value")

    def _text(self, node: yaml.ScalarNode, path: Path) -> str:
        text: str = node.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._error(node, path, "an escape that is half of a surrogate pair; write the character itself")
        return text

    def _error(self, node: yaml.Node, path: Path, text: str) -> SpaceError:
        where = f"{dotted(path)}: " if path else ""
        return SpaceError(_bounded(f"{self.source}:{node.start_mark.line + 1}: {where}{text}"))

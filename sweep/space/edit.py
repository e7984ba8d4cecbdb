"""Changing values of a YAML file in its text, so that everything else, comments above all, stays as it was.

One value is replaced at a time and the text parsed anew, so that places are always those of the text as it is. The
reason of a change becomes a comment at the end of its line. Lost are comments inside of a block that is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sweep.errors import SpaceError
from sweep.space.document import compose

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*\Z")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def with_value(text: str, path: tuple[str, ...], value: Any, reason: str) -> str:  # noqa: ANN401 (any YAML value)
    """The text with one value set. Sections that are missing are made.

    Args:
        text: a mapping in YAML that `read_document` takes.
        path: keys, from the outermost in.
        value: scalars, lists and mappings.
        reason: in a sentence, for the comment. Empty: none.

    Raises:
        SpaceError: a part of the path stands for a list.
    """
    node, found = _find(text, path)
    rest = path[len(found) :]
    if not rest:
        return _replaced(text, node, flow(value), reason)
    if isinstance(node[1], yaml.ScalarNode):  # `pruner: median` is short for its type
        kept = {"type": node[1].value} if node[1].value and node[1].value not in ("null", "~") else {}
        return _replaced(text, node, flow({**kept, **_nested(rest, value)}), reason)
    if not isinstance(node[1], yaml.MappingNode):
        raise SpaceError(f"{'.'.join(path)}: {'.'.join(found)} is a list, in which nothing can be set")
    return _inserted(text, node[1], rest[0], flow(_nested(rest[1:], value)), reason)


def without(text: str, path: tuple[str, ...]) -> str:
    """The text without a key and its value. The same text where it does not stand there."""
    (key, value), found = _find(text, path)
    if found != path or key is None:
        return text
    lines = text.splitlines(keepends=True)
    first, last = key.start_mark, _end(value)
    if text[first.index - first.column : first.index].strip():  # within braces
        start, end = first.index, last.index
        after = re.match(r"\s*,\s*", text[end:])
        if after:
            return text[:start] + text[end + after.end() :]
        return re.sub(r",\s*\Z", "", text[:start]) + text[end:]
    return "".join([*lines[: first.line], *lines[last.line + 1 :]])


def flow(value: Any) -> str:  # noqa: ANN401 (any YAML value)
    """A value on one line, as YAML 1.2 reads it back."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return value if PLAIN.match(value) and value.lower() not in WORDS else json.dumps(value)
    return json.dumps(value)


def comment(text: str) -> str:
    """A text as the content of one comment: on one line, and of letters that YAML takes."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


Pair = tuple[yaml.Node | None, yaml.Node]


def _find(text: str, path: tuple[str, ...]) -> tuple[Pair, tuple[str, ...]]:
    """The key and value of the longest part of the path that is there, and that part."""
    pair: Pair = (None, compose(text, "space"))
    for depth, name in enumerate(path):
        node = pair[1]
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        inner = next(((key, value) for key, value in pairs if key.value == name), None)
        if inner is None:
            return pair, path[:depth]
        pair = inner
    return pair, path


def _end(node: yaml.Node) -> yaml.Mark:
    """Where a node's text ends. PyYAML lets a block end where the next thing begins."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node.end_mark


def with_items(text: str, key: str, items: Sequence[tuple[Any, str]]) -> str:
    """The text with a list at the top level, one item on each line with its reason. What stood there is replaced."""
    lines = "".join(f"\n  - {flow(item)}  # {comment(reason)}" for item, reason in items)
    pair, found = _find(text, (key,))
    if not found:
        return f"{text.rstrip()}\n\n{key}:{lines}\n"
    head, tail = _around(text, pair)
    return f"{head}{lines}{tail}"


def _replaced(text: str, pair: Pair, new: str, reason: str) -> str:
    head, tail = _around(text, pair)
    assert pair[0] is not None  # noqa: S101 (a path has at least one key)
    place = text.index(":", pair[0].end_mark.index)
    return _commented(f"{head[: place + 1]} {new}{head[place + 1 :]}{tail}", place, reason)


def _around(text: str, pair: Pair) -> tuple[str, str]:
    """The text up to a value, with what else stands on its key's line, and from the value's end on."""
    key, value = pair
    assert key is not None  # noqa: S101 (a path has at least one key)
    colon, end = text.index(":", key.end_mark.index), _end(value).index
    is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style
    if not is_block:
        return text[: colon + 1], text[end:]
    line_end = text.find("\n", end)
    return text[: text.index("\n", colon)], "" if line_end < 0 else text[line_end:]


def _nested(keys: tuple[str, ...], value: Any) -> Any:  # noqa: ANN401 (any YAML value)
    return {keys[0]: _nested(keys[1:], value)} if keys else value


def _inserted(text: str, parent: yaml.MappingNode, key: str, new: str, reason: str) -> str:
    if parent.flow_style:
        place = parent.start_mark.index + 1
        comma = ", " if parent.value else ""
        return _commented(f"{text[:place]}{flow(key)}: {new}{comma}{text[place:]}", place, reason)
    first = parent.value[0][0].start_mark
    if first.column == 0:  # a section of its own, at the end
        text = text if text.endswith("\n") else f"{text}\n"
        return _commented(f"{text}\n{flow(key)}: {new}\n", len(text) + 1, reason)
    start = first.index - first.column
    return _commented(f"{text[:start]}{' ' * first.column}{flow(key)}: {new}\n{text[start:]}", start, reason)


def _commented(text: str, place: int, reason: str) -> str:
    """With the reason at the end of the line of a place."""
    if not reason:
        return text
    end = text.find("\n", place)
    end = len(text) if end < 0 else end
    return f"{text[:end].rstrip()}  # {comment(reason)}{text[end:]}"

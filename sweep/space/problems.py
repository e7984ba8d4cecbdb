"""From pydantic's errors to sentences about a file: the path as written, the bad value, what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweep.space.document import Path, Problem
from sweep.space.examples import example
from sweep.space.foreign import PRUNER_NAMES, SAMPLER_NAMES
from sweep.space.locations import annotation_at, paths_below, takes_null, valid_keys, valid_tags
from sweep.space.nearest import MOST_HINTS, nearest
from sweep.space.spellings import flow
from sweep.space.values import remedy

Loc = tuple[str | int, ...]


def problems_of(error: ValidationError, document: Any, model: type[BaseModel]) -> Iterator[Problem]:  # noqa: ANN401
    """One problem per mistake.

    Args:
        error: what validation of `document` raised.
        document: the plain values that were validated.
        model: the model that they were validated against.
    """
    # What is missing comes last: next to an unknown key it is most often the same key, misspelt.
    unknown = 0
    for item in sorted(_of_one_kind(error.errors(), document), key=lambda item: item["type"] == "missing"):
        path = _path(item["loc"], document)
        unknown += item["type"] == "extra_forbidden"
        if item["type"] == "extra_forbidden" and unknown > MOST_HINTS:
            yield Problem(path, "unknown key")
        else:
            yield Problem(path, _sentence(item, path, model))


def _of_one_kind(errors: list[ErrorDetails], document: Any) -> Iterator[ErrorDetails]:  # noqa: ANN401
    """The errors, but of a value that may be of several kinds only those of the kind that was meant.

    Pydantic has one error per kind. The kind that was meant is the first that found no fault with the value's type.
    Where all found one, a single error names them all.
    """
    kinds: dict[Loc, dict[str | int, list[ErrorDetails]]] = {}
    for item in errors:
        for place in _foreign(item, document):
            loc = item["loc"]
            kinds.setdefault(loc[:place], {}).setdefault(loc[place], []).append(item)
    unions = {loc: found for loc, found in kinds.items() if len(found) > 1}
    done: set[Loc] = set()
    for item in errors:
        union = next((item["loc"][:place] for place in _foreign(item, document) if item["loc"][:place] in unions), None)
        if union is None:
            yield item
        elif union not in done:
            done.add(union)
            yield from _of_one_kind(list(_meant(union, list(unions[union].values()))), document)


def _foreign(item: ErrorDetails, document: Any) -> Iterator[int]:  # noqa: ANN401
    """Where an error's location has a part that is no key of the file: there pydantic names the kind it tried."""
    current, loc = document, item["loc"]
    if item["type"] == "space":  # our own: names keys only
        return
    for place, part in enumerate(loc):
        known = isinstance(current, dict) and part in current
        if known or (isinstance(current, list) and isinstance(part, int) and part < len(current)):
            current = current[part]
        elif not (place == len(loc) - 1 and item["type"] == "missing") and part != "[key]":
            yield place


def _meant(union: Loc, kinds: list[list[ErrorDetails]]) -> Iterator[ErrorDetails]:
    place = len(union)
    for found in kinds:
        if not any(len(item["loc"]) == place + 1 and _is_of_type(item["type"]) for item in found):
            for item in found:
                yield {**item, "loc": (*union, *item["loc"][place + 1 :])}
            return
    wanted = [found[0]["msg"].removeprefix("Input should be ").partition(",")[0] for found in kinds]
    first, *others = dict.fromkeys(wanted)
    if first.startswith("a valid "):
        others = [other.removeprefix("a valid ") for other in others]
    text = f"{', '.join([first, *others[:-1]])} or {others[-1]}" if others else first
    yield {**kinds[0][0], "loc": union, "type": "union", "msg": f"Input should be {text}"}


def _is_of_type(kind: str) -> bool:
    return kind.endswith(("_type", "_parsing")) or kind in ("int_from_float", "literal_error", "enum")


def _path(loc: Sequence[str | int], document: Any) -> Path:  # noqa: ANN401
    """The location without the union tags in it, which are no keys of the file."""
    path: list[str | int] = []
    current: Any = document
    for index, part in enumerate(loc):
        known = isinstance(current, dict) and part in current
        item = isinstance(current, list) and isinstance(part, int) and part < len(current)
        if known or item:
            path.append(part)
            current = current[part]
        elif (
            index == len(loc) - 1 and isinstance(current, dict) and isinstance(part, str) and not _is_tag(part, current)
        ):
            path.append(part)
    return tuple(path)


def _is_tag(part: str, holder: dict[str, Any]) -> bool:
    return holder.get("type") == part


def _sentence(item: ErrorDetails, path: Path, model: type[BaseModel]) -> str:
    kind, context, given = item["type"], item.get("ctx", {}), item["input"]
    if kind == "extra_forbidden":
        valid = valid_keys(model, item["loc"][:-1])
        return f"unknown key {path[-1]!r}; {nearest(str(path[-1]), valid, paths_below(model))}"
    if kind == "missing":
        return "is missing; give it"
    if kind == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in str(context["expected_tags"]).split(",")]
        return f"unknown type {context['tag']!r}; valid are {', '.join(tags)}{_near_type(str(context['tag']), tags)}"
    if kind == "union_tag_not_found":
        return "has no `type`; name one, such as `type: " + " or ".join(valid_tags(model, item["loc"])) + "`"
    if kind in ("value_error", "space"):
        return str(item["msg"]).removeprefix("Value error, ")
    if kind == "enum":
        choices = [choice.strip().strip("'") for choice in str(context["expected"]).replace(" or ", ", ").split(",")]
        return f"{given!r} is not one of {', '.join(choices)}{_near_value(str(given), choices)}"
    if kind == "string_pattern_mismatch":
        right = re.sub(r"[^A-Za-z0-9._-]+", "-", str(given)).strip("-._")[:64]
        return f"{given!r}: use letters, digits, dots, dashes and underscores; write {right or 'a-name'}"
    text = str(item["msg"]).removeprefix("Input ").replace("an object", "a mapping").replace("valid array", "list")
    return f"{text}, got {_short(given)}{_remedy(item, path, text, model)}"


def _remedy(item: ErrorDetails, path: Path, text: str, model: type[BaseModel]) -> str:
    """What would be right instead of a value of the wrong type."""
    given, place = item["input"], str(path[-1]) if path else ""
    if "mapping" in text:
        filled = example(annotation_at(model, item["loc"]), given)
        return f"; write `{place}: {filled}`" if filled else ""
    if text.endswith("a list") and not isinstance(given, list):
        return f"; write `{place}: [{flow(given)}]`"
    words = (("integer", int), ("number", float), ("boolean", bool))
    kinds: set[type] = {kind for word, kind in words if word in text}
    if takes_null(annotation_at(model, item["loc"])):
        kinds.add(type(None))
    found = remedy(given, kinds, place)
    return found or ("; booleans are true and false" if bool in kinds and isinstance(given, str) else "")


def _near_type(given: str, tags: list[str]) -> str:
    """The type that another tool's name stands for, or one that is written nearly so."""
    ours = {**SAMPLER_NAMES, **PRUNER_NAMES}.get(given.lower())
    return f"; {given} is {ours!r} here" if ours in tags else _near_value(given, tags)


def _near_value(given: str, choices: list[str]) -> str:
    text = nearest(given, choices)
    return f"; {text.replace('valid key', 'one', 1)}" if text.startswith("the nearest valid key is") else ""


def _short(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

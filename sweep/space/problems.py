"""From pydantic's errors to sentences about a file: the path as written, the bad value, what would be right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweep.space.document import Path, Problem
from sweep.space.fields import nearest

Loc = tuple[str | int, ...]


def problems_of(error: ValidationError, document: Any, model: type[BaseModel]) -> Iterator[Problem]:  # noqa: ANN401
    """One problem per mistake.

    Args:
        error: what validation of `document` raised.
        document: the plain values that were validated.
        model: the model that they were validated against.
    """
    # What is missing comes last: next to an unknown key it is most often the same key, misspelt.
    for item in sorted(_of_one_kind(error.errors(), document), key=lambda item: item["type"] == "missing"):
        path = _path(item["loc"], document)
        yield Problem(path, _sentence(item, path, document, model))


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


def _sentence(item: ErrorDetails, path: Path, document: Any, model: type[BaseModel]) -> str:  # noqa: ANN401
    kind, context, given = item["type"], item.get("ctx", {}), item["input"]
    if kind == "extra_forbidden":
        return f"unknown key {path[-1]!r}; {nearest(str(path[-1]), valid_keys(model, item['loc'][:-1]))}"
    if kind == "missing":
        return "is missing; give it"
    if kind == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in str(context["expected_tags"]).split(",")]
        return f"unknown type {context['tag']!r}; valid are {', '.join(tags)}{_near_value(str(context['tag']), tags)}"
    if kind == "union_tag_not_found":
        return "has no `type`; name one, such as `type: " + _first_tag(model, item["loc"]) + "`"
    if kind in ("value_error", "space"):
        return str(item["msg"]).removeprefix("Value error, ")
    if kind == "enum":
        choices = [choice.strip().strip("'") for choice in str(context["expected"]).replace(" or ", ", ").split(",")]
        return f"{given!r} is not one of {', '.join(choices)}{_near_value(str(given), choices)}"
    text = str(item["msg"]).removeprefix("Input ")
    hint = "; booleans are true and false" if kind.startswith("bool") and isinstance(given, str) else ""
    return f"{text}, got {_short(given)}{hint}"


def _near_value(given: str, choices: list[str]) -> str:
    text = nearest(given, choices)
    return f"; {text.replace('valid key', 'one')}" if text.startswith("the nearest") else ""


def _short(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def valid_keys(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The keys of the mapping at a pydantic location. Empty where they are free."""
    found: Any = model
    for part in loc:
        found = _step(found, part)
    models = list(_models(found))
    return list(models[0].model_fields) if models else []


def _first_tag(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    found: Any = model
    for part in loc:
        found = _step(found, part)
    return " or ".join(tag for inner in _models(found) for tag in _tags(inner))


def _step(annotation: Any, part: str | int) -> Any:  # noqa: ANN401
    """The annotation one location part further down."""
    models = list(_models(annotation))
    for model in models:
        if part in _tags(model):
            return model
    for model in models:
        if isinstance(part, str) and part in model.model_fields:
            return model.model_fields[part].annotation
    return _item(annotation)


def _item(annotation: Any) -> Any:  # noqa: ANN401
    """What a dict or a tuple holds."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return arguments[1]
    if origin is tuple:
        return arguments[0]
    return None


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) not in (dict, tuple):
        for item in get_args(annotation):
            yield from _models(item)

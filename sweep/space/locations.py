"""Where in the settings models a pydantic location is: what may stand there, and which keys there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

Loc = Sequence[str | int]


def annotation_at(model: type[BaseModel], loc: Loc) -> Any:  # noqa: ANN401 (a type, as Python writes it)
    """The annotation of the value at a pydantic location, union tags included. None where it is free."""
    found: Any = model
    for part in loc:
        found = _step(found, part)
    return found


def valid_keys(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys of the mapping at a pydantic location. Empty where they are free."""
    models = list(models_in(annotation_at(model, loc)))
    return list(models[0].model_fields) if models else []


def valid_tags(model: type[BaseModel], loc: Loc) -> list[str]:
    """What the key `type` may be at a pydantic location."""
    return [tag for inner in models_in(annotation_at(model, loc)) for tag in _tags(inner)]


def takes_null(annotation: Any) -> bool:  # noqa: ANN401
    """Whether None may stand there."""
    return type(None) in get_args(annotation)


@cache
def paths_below(model: type[BaseModel]) -> tuple[str, ...]:
    """Every key below a model as a dotted path, sections included, those of free mappings left out."""
    found: dict[str, None] = {}
    for name, field in model.model_fields.items():
        found[name] = None
        for inner in models_in(field.annotation):
            found |= {f"{name}.{path}": None for path in paths_below(inner)}
    return tuple(found)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401
    """The models that a value of this annotation may be. Those inside lists and mappings are not among them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) not in (dict, tuple):
        for item in get_args(annotation):
            yield from models_in(item)


def _step(annotation: Any, part: str | int) -> Any:  # noqa: ANN401
    """The annotation one location part further down."""
    models = list(models_in(annotation))
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

"""What a setting means, for editors: from its `Field`, else from the docstring of its class. There is no third text."""

from __future__ import annotations

import inspect
import re
from enum import Enum
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): ", re.MULTILINE)


@cache
def describe(model: type[BaseModel], name: str) -> str:
    """The meaning of one field, in a sentence or two. Empty where nothing says it.

    A field's own words count first, then those of its class (inherited ones too), then what its type is.
    """
    field = model.model_fields[name]
    if field.description:
        return field.description
    for owner in model.__mro__:
        if text := _attributes(owner).get(name):
            return text
    if get_origin(field.annotation) is Literal:  # `type`, which names the model itself
        return summary(model)
    return next((summary(kind) for kind in _named(field.annotation)), "")


def summary(kind: type) -> str:
    """The first paragraph of a class's own docstring, on one line."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    return " ".join(text.split())


@cache
def _attributes(owner: type) -> dict[str, str]:
    """The entries of a docstring's section `Attributes`, by name."""
    section = inspect.cleandoc(owner.__dict__.get("__doc__") or "").partition("\nAttributes:\n")[2]
    parts = _ENTRY.split(section.partition("\n\n")[0] if "\n\n" in section else section)[1:]
    found: dict[str, str] = {}
    for names, text in zip(parts[::2], parts[1::2], strict=True):
        sentence = " ".join(text.split())
        found |= dict.fromkeys(names.split(", "), sentence[:1].upper() + sentence[1:])
    return found


def _named(annotation: Any) -> list[type]:  # noqa: ANN401 (a type, as Python writes it)
    """The models and enums inside an annotation."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel | Enum) else []
    return [kind for item in get_args(annotation) for kind in _named(item)]

"""Examples for sections that were given as a single value: `budget: 4` is `budget: {trials: 4}`."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sweep.space.locations import models_in
from sweep.space.spellings import flow
from sweep.space.values import meant


def example(annotation: Any, given: object) -> str | None:  # noqa: ANN401 (a type, as Python writes it)
    """The section with the given value under the first key that takes it, or else with one of its defaults.

    None where the annotation is no section.
    """
    models = list(models_in(annotation))
    if len(models) > 1:
        return _of_types(models, given)
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], dict):
        return flow(given[0])  # one dash too many
    for model in models:
        if (filled := _filled(model.model_fields, given)) is not None:
            return flow(filled)
    return flow(_by_default(models[0].model_fields)) if models else None


def _of_types(models: list[type[BaseModel]], given: object) -> str:
    """One of several kinds, which the key `type` tells apart: that which was named, or the first."""
    names = [get_args(model.model_fields["type"].annotation)[0] for model in models]
    if given is False or given is None:
        wanted = "none"
    else:
        wanted = str(given[0]) if isinstance(given, list) and given else str(given)
    if "float" in names:  # a parameter
        return "{type: float, low: LOW, high: HIGH}"
    return flow({"type": wanted if wanted in names else names[0]})


def _filled(fields: dict[str, FieldInfo], given: object) -> dict[str, Any] | None:
    if given is None or isinstance(given, dict | list):
        return None
    for name, field in fields.items():
        value = _as_taken(name, field, given)
        if value is not None and not any(models_in(field.annotation)):
            return {name: value}
    for name, field in fields.items():
        for inner in models_in(field.annotation):
            if (found := _filled(inner.model_fields, given)) is not None:
                return {name: found}
    return None


def _as_taken(name: str, field: FieldInfo, given: object) -> object:
    """The value as the field takes it (`1h` as 1 where hours are counted). None if it does not."""
    kinds = {kind for kind in (int, float) if kind.__name__ in str(field.annotation)}
    other = meant(given, kinds, name)
    for text in (json.dumps(given), *([other] if other is not None else [])):
        try:
            TypeAdapter(cast("Any", Annotated)[field.annotation, field]).validate_json(text, strict=True)
        except ValidationError:
            continue
        return json.loads(text)
    return None


def _by_default(fields: dict[str, FieldInfo]) -> dict[str, Any]:
    """The first key with a plain default."""
    for name, field in fields.items():
        default = field.get_default()
        if isinstance(default, int | float | str) and default != "":
            return {name: getattr(default, "value", default)}
    return {next(iter(fields)): "VALUE"}

"""The dotted paths of `TrialSettings`: which there are, what each may hold, and how a value is put there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, cast, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from selector.settings import TrialSettings
from sweep.space.descriptions import describe

Scalar = bool | int | float | str | None
"""What a parameter, a choice or a condition can be."""

_ADAPTER_CONFIG = ConfigDict(allow_inf_nan=False)


@dataclass(frozen=True)
class Address:
    """One setting of a trial: a leaf of `TrialSettings`."""

    path: str
    field: FieldInfo
    adapter: TypeAdapter[Any]
    meaning: str

    @property
    def description(self) -> str:
        """Type, default and the field's own description, in one line for editors."""
        kinds = " or ".join(getattr(kind, "__name__", str(kind)) for kind in self.kinds)
        default = json.dumps(self.field.get_default(), default=str)
        return f"{self.meaning} ({kinds}; default {default})"

    @property
    def kinds(self) -> tuple[type, ...]:
        """The plain types that the field takes, without constraints."""
        return tuple(_plain(self.field.annotation))

    def check(self, value: Scalar) -> Scalar:
        """The value as the field holds it (an int for a float field becomes a float, an enum its text).

        Raises:
            ValueError: the field refuses the value. The message is the field's constraint.
        """
        try:
            checked = self.adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(first["msg"].removeprefix("Input ")) from None
        return cast("Scalar", self.adapter.dump_python(checked, mode="json"))


def _plain(annotation: object) -> Iterator[type]:
    """The types inside unions and `Annotated`."""
    if isinstance(annotation, type):
        yield annotation
    elif hasattr(annotation, "__metadata__"):
        yield from _plain(get_args(annotation)[0])
    else:
        for item in get_args(annotation):
            yield from _plain(item)


def section_model(annotation: object) -> type[BaseModel] | None:
    """The settings model that a field holds (perhaps optionally), or None for a plain value."""
    models = [kind for kind in _plain(annotation) if issubclass(kind, BaseModel)]
    return models[0] if models else None


@cache
def sections() -> dict[str, type[BaseModel]]:
    """Every section by dotted path, `grpo.top_k` included, in the order of the model."""
    found: dict[str, type[BaseModel]] = {}

    def visit(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            inner = section_model(field.annotation)
            if inner is not None:
                found[prefix + name] = inner
                visit(inner, f"{prefix}{name}.")

    visit(TrialSettings, "")
    return found


@cache
def addresses() -> dict[str, Address]:
    """Every setting by dotted path, in the order of the model."""
    found: dict[str, Address] = {}
    for prefix, model in {"": cast("type[BaseModel]", TrialSettings), **sections()}.items():
        for name, field in model.model_fields.items():
            if section_model(field.annotation) is None:
                path = f"{prefix}.{name}" if prefix else name
                kind = cast("Any", Annotated)[field.annotation, field]
                found[path] = Address(path, field, TypeAdapter(kind, config=_ADAPTER_CONFIG), describe(model, name))
    return found


def flatten(settings: TrialSettings) -> dict[str, Scalar]:
    """Every setting's value by dotted path. None for all settings of a section that is null."""
    dump = settings.model_dump(mode="json")
    return {path: _look_up(dump, path.split(".")) for path in addresses()}


def _look_up(values: Mapping[str, Any], keys: list[str]) -> Scalar:
    current: Any = values
    for key in keys:
        if current is None:
            return None
        current = current[key]
    return cast("Scalar", current)


def with_values(base: TrialSettings, values: Mapping[str, Scalar]) -> TrialSettings:
    """The settings with some of them replaced. A null section that is addressed starts from its defaults.

    Raises:
        pydantic.ValidationError: the settings' own validators refuse the combination.
    """
    dump = base.model_dump(mode="json")
    for path, value in values.items():
        *parents, leaf = path.split(".")
        current = dump
        for depth, key in enumerate(parents, start=1):
            if current[key] is None:
                current[key] = sections()[".".join(parents[:depth])]().model_dump(mode="json")
            current = current[key]
        current[leaf] = value
    return TrialSettings.model_validate(dump)


def refusal(error: ValidationError, values: Mapping[str, Scalar]) -> str:
    """`a=1, b=2: why`, naming the parameters that a refused combination is about."""
    first = error.errors()[0]
    text = first["msg"].removeprefix("Value error, ")
    section = ".".join(str(part) for part in first["loc"])
    inside = [path for path in values if path.startswith(f"{section}." if section else "")]
    named = [path for path in inside if path in text or path.rsplit(".", 1)[-1] in text.replace(".", " ").split()]
    shown = named or inside or list(values)
    return f"{', '.join(f'{path}={values[path]}' for path in shown)}: {text}"

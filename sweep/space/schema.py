"""The JSON schema of a search space, for editors that complete and check YAML while it is written.

Every property has a description, from the settings' own words (`sweep.space.descriptions`). What is used more than once
stands in `$defs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from sweep.space.addresses import addresses
from sweep.space.descriptions import describe, summary
from sweep.space.locations import valid_tags
from sweep.space.search_space import SearchSpace

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SETTING, _PARAMETER = {"$ref": "#/$defs/Setting"}, {"$ref": "#/$defs/Parameter"}


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the YAML file, with every legal parameter path and its description.

    It accepts what `parse_space` accepts. What needs more than one value to judge (ranges, conditions, points) it
    does not refuse.
    """
    schema = SearchSpace.model_json_schema(mode="validation")
    for model in dict.fromkeys(_models(SearchSpace)):
        _describe(schema if model is SearchSpace else schema["$defs"][_key(model, schema["$defs"])], model)
    properties, definitions = schema["properties"], schema["$defs"]
    kinds = dict(properties["parameters"]["additionalProperties"])
    del kinds["discriminator"]
    definitions["Setting"] = {"description": "The dotted path of a setting of trials.", "enum": list(addresses())}
    definitions["Parameter"] = {
        "description": "A typed parameter, or a bare value, which is short for a fixed one.",
        "anyOf": [kinds, {"type": ["boolean", "number", "string", "null"]}],
    }
    properties["parameters"] |= {
        "additionalProperties": False,
        "properties": {path: {"description": one.description, **_PARAMETER} for path, one in addresses().items()},
    }
    properties["enqueue"]["items"]["propertyNames"] = _SETTING
    definitions["PriorTrial"]["properties"]["params"]["propertyNames"] = _SETTING
    for definition in definitions.values():
        if "when" in definition.get("properties", {}):
            definition["properties"]["when"]["propertyNames"] = _SETTING
    for name in ("sampler", "pruner"):
        properties[name] = _with_short_form(properties[name], valid_tags(SearchSpace, [name]))
    return {"$schema": DIALECT, **_without_titles(schema)}


def _with_short_form(choice: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The name alone is short for the type with its defaults."""
    typed = {key: choice.pop(key) for key in ("oneOf", "discriminator")}
    return {**choice, "anyOf": [{"enum": names}, {"oneOf": typed["oneOf"]}]}


def _describe(definition: dict[str, Any], model: type[BaseModel]) -> None:
    definition["description"] = summary(model)
    for name, shown in definition["properties"].items():
        shown["description"] = describe(model, name)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 (a type, as Python writes it)
    """All models that a type is made of, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    else:
        for item in get_args(annotation):
            yield from _models(item)


def _key(model: type[BaseModel], definitions: dict[str, Any]) -> str:
    """What pydantic calls a model's definition: the name, with the module where two have one name."""
    full = f"{model.__module__}.{model.__qualname__}".replace(".", "__")
    return full if full in definitions else model.__name__


def _without_titles(value: Any) -> Any:  # noqa: ANN401 (JSON)
    """Without the titles that pydantic makes of names. A property of that name would stay."""
    if isinstance(value, list):
        return [_without_titles(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_titles(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}

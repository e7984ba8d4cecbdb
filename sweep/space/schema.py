"""The JSON schema of a search space, for editors that complete and check YAML while it is written."""

from __future__ import annotations

from typing import Any

from sweep.space.addresses import Address, addresses
from sweep.space.search_space import SearchSpace

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the YAML file, with every legal parameter path and its description.

    It accepts what `parse_space` accepts. What needs more than one value to judge (ranges, conditions, points) it
    does not refuse.
    """
    schema = SearchSpace.model_json_schema(mode="validation")
    paths = list(addresses())
    kinds = schema["properties"]["parameters"]["additionalProperties"]
    schema["properties"]["parameters"] |= {
        "additionalProperties": False,
        "properties": {path: _parameter(address, kinds) for path, address in addresses().items()},
    }
    schema["properties"]["enqueue"]["items"]["propertyNames"] = {"enum": paths}
    for definition in schema["$defs"].values():
        if "when" in definition.get("properties", {}):
            definition["properties"]["when"]["propertyNames"] = {"enum": paths}
    return {"$schema": DIALECT, **schema}


def _parameter(address: Address, kinds: dict[str, Any]) -> dict[str, Any]:
    """A typed parameter, or a bare value, which is short for a fixed one."""
    typed = {key: value for key, value in kinds.items() if key != "discriminator"}
    bare = {"type": ["boolean", "number", "string", "null"]}
    return {"description": address.description, "anyOf": [typed, bare]}

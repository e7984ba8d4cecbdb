"""Checks on single parameters: does the key address a setting, and does the setting take the values?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from sweep.space.addresses import Address, addresses, sections
from sweep.space.document import Path, Problem
from sweep.space.nearest import MOST_HINTS, nearest
from sweep.space.parameters import FixedParameter, FloatParameter, Parameter
from sweep.space.values import remedy


def refuse(problems: Iterable[Problem]) -> None:
    """Raise all problems as one pydantic error. Nothing if there is none."""
    errors: list[InitErrorDetails] = [
        {"type": PydanticCustomError("space", "{text}", {"text": item.text}), "loc": item.path, "input": None}
        for item in problems
    ]
    if errors:
        raise ValidationError.from_exception_data("SearchSpace", errors)


def refuse_one(path: Path, text: str) -> NoReturn:
    """Raise a single problem."""
    refuse([Problem(path, text)])
    raise AssertionError("refuse() raises when given a problem")


def addressed(parameters: Mapping[str, Parameter], other_sections: frozenset[str]) -> dict[str, Parameter]:
    """The parameters with every value as its field holds it (`1` for a float field becomes `1.0`).

    Raises:
        pydantic.ValidationError: keys that are no setting of a trial, values or conditions that a field refuses.
    """
    problems: list[Problem] = []
    result: dict[str, Parameter] = {}
    for path, parameter in parameters.items():
        address = addresses().get(path)
        if address is None:
            hinted = len(problems) < MOST_HINTS
            text = unknown_address(path, other_sections) if hinted else "no such setting of a trial"
            problems.append(Problem((path,), text))
            continue
        problems += _bound_problems(parameter, address)
        result[path] = parameter
    problems += [found for path, parameter in result.items() for found in _condition_problems(path, parameter)]
    refuse(problems)
    return {path: _normalised(parameter, addresses()[path]) for path, parameter in result.items()}


def unknown_address(path: str, other_sections: frozenset[str]) -> str:
    """Why a path is not the address of a setting that can be sampled, and which one is near."""
    first = path.split(".", 1)[0]
    if path in sections():
        inner = ", ".join(f"{path}.{name}" for name in sections()[path].model_fields)
        return f"is a whole section; address a setting inside it: {inner}"
    if first in other_sections and path not in addresses():
        return (
            f"{first} is not part of a trial and cannot be sampled: what compares or limits trials must be the same "
            f"for all of them; set it in the section `{first}`"
        )
    if first == "trial" and path.removeprefix("trial.") in addresses():
        return f"paths start below `trial`; write {path.removeprefix('trial.')!r}"
    return f"no such setting of a trial; {nearest(path, addresses())}"


def _bound_problems(parameter: Parameter, address: Address) -> Iterator[Problem]:
    if isinstance(parameter, FloatParameter) and float not in address.kinds:
        kinds = " or ".join(kind.__name__ for kind in address.kinds)
        hint = "int" if int in address.kinds else "categorical"
        yield Problem(
            (address.path, "type"), f"float does not fit {address.path}, which is {kinds}; use `type: {hint}`"
        )
        return
    for key, value in parameter.bounds().items():
        try:
            address.check(value)
        except ValueError as error:
            where = _split_index(key)
            right = remedy(value, address.kinds, address.path)
            if value is None and key == "value":
                yield Problem(
                    (address.path,), "is empty; give a value, or a range `{type: float, low: LOW, high: HIGH}`"
                )
                continue
            yield Problem((address.path, *where), f"{value!r} is refused by {address.path}: {error}{right}")


def _split_index(key: str) -> Path:
    name, _, index = key.partition("[")
    return (name, int(index.rstrip("]"))) if index else (name,)


def _condition_problems(path: str, parameter: Parameter) -> Iterator[Problem]:
    for other, allowed in parameter.conditions().items():
        address = addresses().get(other)
        if address is None:
            yield Problem((path, "when", other), f"no such setting of a trial; {nearest(other, addresses())}")
            continue
        for value in allowed:
            try:
                address.check(value)
            except ValueError as error:
                yield Problem((path, "when", other), f"{value!r} is refused by {other}, so it can never hold: {error}")


def _normalised(parameter: Parameter, address: Address) -> Parameter:
    changes: dict[str, Any] = {
        "when": {
            other: tuple(addresses()[other].check(value) for value in allowed)
            for other, allowed in parameter.conditions().items()
        }
    }
    if isinstance(parameter, FixedParameter):
        changes["value"] = address.check(parameter.value)
    elif "choices" in type(parameter).model_fields:
        changes["choices"] = tuple(address.check(value) for value in parameter.values())
    return parameter.replace(**changes)

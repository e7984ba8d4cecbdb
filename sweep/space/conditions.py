"""Conditional parameters: in which order they are decided, which of them a trial has, and which combinations exist.

A condition looks at the trial's settings as they are. Where the named parameter is in use it sees its value, else the
fixed setting underneath.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from sweep.space.addresses import Scalar
from sweep.space.parameters import Parameter

Parameters = Mapping[str, Parameter]
Values = Mapping[str, Scalar]


def parents(parameters: Parameters, path: str) -> list[str]:
    """Parameters of the space that the conditions of `path` name."""
    return [other for other in parameters[path].when if other in parameters]


def decision_order(parameters: Parameters) -> tuple[str, ...]:
    """Every parameter after those that its conditions name, else in the order of the file.

    Raises:
        ValueError: conditions that go round in a circle, naming it.
    """
    done: list[str] = []
    waiting = list(parameters)
    while waiting:
        ready = next((path for path in waiting if all(other in done for other in parents(parameters, path))), None)
        if ready is None:
            raise ValueError(f"conditions go round in a circle: {_circle(parameters, waiting)}; remove one of them")
        waiting.remove(ready)
        done.append(ready)
    return tuple(done)


def _circle(parameters: Parameters, waiting: Sequence[str]) -> str:
    seen = [waiting[0]]
    while True:
        following = next(other for other in parents(parameters, seen[-1]) if other in waiting)
        if following in seen:
            return " -> ".join([*seen[seen.index(following) :], following])
        seen.append(following)


def holds(parameter: Parameter, values: Values, base: Values) -> bool:
    """Whether the parameter is in use.

    Args:
        parameter: the parameter whose conditions are asked.
        values: parameters in use so far, all that the conditions name among them.
        base: every fixed setting underneath.
    """
    return all(values.get(path, base[path]) in allowed for path, allowed in parameter.conditions().items())


def combinations(
    parameters: Parameters, order: Sequence[str], candidates: Mapping[str, Sequence[Scalar]], base: Values
) -> Iterator[dict[str, Scalar]]:
    """Every combination of candidate values, each once, with the parameters not in use left out.

    `order` may be a part of the space if it holds the parents of all of its members.
    """

    def extend(index: int, values: dict[str, Scalar]) -> Iterator[dict[str, Scalar]]:
        if index == len(order):
            yield dict(values)
            return
        path = order[index]
        if not holds(parameters[path], values, base):
            yield from extend(index + 1, values)
            return
        for value in candidates[path]:
            yield from extend(index + 1, {**values, path: value})

    return extend(0, {})


def random_combination(
    parameters: Parameters,
    order: Sequence[str],
    candidates: Mapping[str, Sequence[Scalar]],
    base: Values,
    source: random.Random,
) -> dict[str, Scalar]:
    """One combination, drawn parameter by parameter."""
    values: dict[str, Scalar] = {}
    for path in order:
        if holds(parameters[path], values, base):
            values[path] = source.choice(candidates[path])
    return values


def with_ancestors(parameters: Parameters, order: Sequence[str], paths: set[str]) -> list[str]:
    """The paths and all parameters that their conditions reach, in `order`."""
    wanted = set(paths)
    for path in reversed(order):
        if path in wanted:
            wanted.update(parents(parameters, path))
    return [path for path in order if path in wanted]

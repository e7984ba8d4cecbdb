"""Points of a space and their coordinates. A surface is recorded and looked up by these."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from scipy.stats import qmc  # type: ignore[import-untyped]

from selector.arrays import Float64Array
from sweep.space import Scalar, SearchSpace
from sweep.space.parameters import CategoricalParameter, FloatParameter, IntParameter, Parameter


def spread_points(space: SearchSpace, count: int, skip: int = 0) -> Iterator[dict[str, Scalar]]:
    """Points spread evenly over a space: a scrambled Sobol sequence, always the same.

    Args:
        space: whose sampled parameters are drawn.
        count: of points.
        skip: points at the beginning of the sequence to leave out.
    """
    paths = list(space.distributions)
    exponent = math.ceil(math.log2(max(skip + count, 2)))  # the sequence is even in powers of two
    rows = qmc.Sobol(len(paths), scramble=True, rng=0).random_base2(exponent)[skip : skip + count]
    for row in rows:
        values: dict[str, Scalar] = {}
        for path, place in zip(paths, row.tolist(), strict=True):
            if space.in_use(path, values):
                values[path] = _value(space.parameters[path], place)
        yield values


def _value(parameter: Parameter, place: float) -> Scalar:
    """The value at a place in [0, 1) of a parameter's range."""
    if isinstance(parameter, CategoricalParameter):
        return parameter.choices[int(place * len(parameter.choices))]
    if not isinstance(parameter, FloatParameter) or parameter.step is not None:
        raise NotImplementedError(f"surfaces have continuous and categorical parameters, not {parameter}")
    if parameter.log:
        return float(parameter.low * (parameter.high / parameter.low) ** place)
    return float(parameter.low + (parameter.high - parameter.low) * place)


def coordinates(space: SearchSpace, params: Mapping[str, Scalar]) -> Float64Array:
    """A point as numbers, float64 [P] in the order of `space.distributions`.

    A float has its place in [0, 1] of its range, and 0.5 where it is not in use. A choice has its index.
    """
    found = np.full(len(space.distributions), 0.5)
    for column, path in enumerate(space.distributions):
        if path in params:
            found[column] = _place(space.parameters[path], params[path])
    return found


def _place(parameter: Parameter, value: Scalar) -> float:
    if isinstance(parameter, CategoricalParameter):
        return float(parameter.choices.index(value))
    if not isinstance(parameter, FloatParameter | IntParameter) or not isinstance(value, int | float):
        raise NotImplementedError(f"surfaces have continuous and categorical parameters, not {parameter}")
    if parameter.log:
        return math.log(value / parameter.low) / math.log(parameter.high / parameter.low)
    return (value - parameter.low) / (parameter.high - parameter.low)

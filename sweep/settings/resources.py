"""Amounts of CPUs and GPUs as Ray can hand them out. Refused here, because Ray itself raises in the middle of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

SMALLEST = 0.0001
"""Ray counts resources in steps of this. What is smaller is nothing to it."""


def _countable(value: float) -> float:
    if 0 < value < SMALLEST:
        raise ValueError(
            f"{value:g} is below {SMALLEST:g}, the smallest amount that Ray counts; use {SMALLEST:g} or more"
        )
    return value


def _whole_above_one(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError(f"{value} GPUs cannot be had together; use {int(value)}, {int(value) + 1}, or at most 1")
    return value


_MOST = 1_000_000.0  # more than any cluster has; Ray keeps ten thousandths in 64 bits

Cpus = Annotated[float, Field(gt=0, le=_MOST), AfterValidator(_countable)]
Gpus = Annotated[float, Field(ge=0, le=_MOST), AfterValidator(_countable), AfterValidator(_whole_above_one)]

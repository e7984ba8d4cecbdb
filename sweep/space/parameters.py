"""The kinds of parameters of a space. Each checks its range at construction and knows its Optuna distribution."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, field_validator, model_validator

from selector.settings import FrozenModel
from sweep.space.addresses import Scalar

When = dict[str, Scalar | tuple[Scalar, ...]]


class _Conditional(FrozenModel):
    when: When = Field(
        default={},
        description="Use the parameter only if every named setting has the given value (or one of the given values).",
    )

    @field_validator("when", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:  # noqa: ANN401 (not yet validated)
        if isinstance(value, dict):
            return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
        return value

    @field_validator("when")
    @classmethod
    def _some_value(cls, value: When) -> When:
        for path, wanted in value.items():
            if wanted == ():
                raise ValueError(f"{path} has no value, so the condition can never hold; name at least one")
        return value

    def conditions(self) -> dict[str, tuple[Scalar, ...]]:
        """Allowed values by path."""
        return {path: wanted if isinstance(wanted, tuple) else (wanted,) for path, wanted in self.when.items()}


class _Range(_Conditional):
    """What float and int ranges share."""

    def check_range(self, low: float, high: float, step: float | None, log: bool) -> None:
        if low == high:
            raise ValueError(f"low and high are both {low}; use `type: fixed` for a single value")
        if low > high:
            raise ValueError(f"low {low} is not below high {high}; swap them")
        if log and low <= 0:
            raise ValueError(f"log: true needs low above 0, got {low}; raise it or drop log")
        if log and step is not None:
            raise ValueError("log and step exclude each other; drop one")
        if step is None:
            return
        if step > high - low:
            raise ValueError(f"step {step} is wider than the range {low}..{high}; use a smaller one")
        span = Decimal(str(high)) - Decimal(str(low))
        if span % Decimal(str(step)):
            last = Decimal(str(low)) + span // Decimal(str(step)) * Decimal(str(step))
            raise ValueError(f"high {high} is not reached from low {low} in steps of {step}; the last step is {last}")


class FloatParameter(_Range):
    """A real number in [low, high], uniform, or uniform in the logarithm, or in steps from low.

    Attributes:
        low: smallest value.
        high: largest value, included.
        log: uniform in the logarithm.
        step: distance between values; null: continuous.
    """

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _checked(self) -> FloatParameter:
        self.check_range(self.low, self.high, self.step, self.log)
        return self

    def distribution(self) -> BaseDistribution:
        """As Optuna samples it."""
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def contains(self, value: Scalar) -> bool:
        """Whether a trial can be given the value: in the range, and on the grid of steps."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-8)

    @property
    def count(self) -> int | None:
        """Number of values. None: continuous."""
        return (
            None
            if self.step is None
            else int((Decimal(str(self.high)) - Decimal(str(self.low))) / Decimal(str(self.step))) + 1
        )

    def values(self) -> Iterator[Scalar]:
        """All values of a stepped range, ascending. Only where `count` is a number."""
        for index in range(self.count or 0):
            yield float(Decimal(str(self.low)) + index * Decimal(str(self.step)))

    def probes(self) -> tuple[Scalar, ...]:
        """Values that stand for the range where combinations are tried out."""
        return (self.low, self.high)

    def bounds(self) -> dict[str, Scalar]:
        """Values that the addressed field must take, by the key they stand under."""
        return {"low": self.low, "high": self.high}


class IntParameter(_Range):
    """A whole number in [low, high], both included.

    Attributes:
        low: smallest value.
        high: largest value, included.
        log: uniform in the logarithm.
    """

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Null: every whole number.")

    @model_validator(mode="after")
    def _checked(self) -> IntParameter:
        self.check_range(self.low, self.high, self.step, self.log)
        return self

    def distribution(self) -> BaseDistribution:
        """As Optuna samples it."""
        return IntDistribution(self.low, self.high, log=self.log, step=self.step or 1)

    def contains(self, value: Scalar) -> bool:
        """Whether a trial can be given the value (a whole float counts: a float field may be sampled in ints)."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return (value - self.low) % (self.step or 1) == 0

    @property
    def count(self) -> int:
        """Number of values."""
        return (self.high - self.low) // (self.step or 1) + 1

    def values(self) -> Iterator[Scalar]:
        """All values, ascending."""
        yield from range(self.low, self.high + 1, self.step or 1)

    def probes(self) -> tuple[Scalar, ...]:
        """All values of a small range. Ends and middle of a large one."""
        if self.count <= 8:
            return tuple(self.values())
        step = self.step or 1
        return (self.low, self.low + self.count // 2 * step, self.high)

    def bounds(self) -> dict[str, Scalar]:
        """Values that the addressed field must take, by the key they stand under."""
        return {"low": self.low, "high": self.high}


class CategoricalParameter(_Conditional):
    """One of the given values, without an order.

    Attributes:
        choices: two or more different values.
    """

    type: Literal["categorical"]
    choices: tuple[Scalar, ...]

    @field_validator("choices", mode="before")
    @classmethod
    def _list_is_tuple(cls, value: Any) -> Any:  # noqa: ANN401 (not yet validated)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("choices")
    @classmethod
    def _distinct(cls, value: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        if not value:
            raise ValueError("is empty; give at least two choices")
        for index, choice in enumerate(value):
            if choice in value[:index]:  # 1, 1.0 and true are equal here, as they are to Optuna
                raise ValueError(f"{choice!r} is given twice; keep one")
        if len(value) == 1:
            raise ValueError(f"has the single choice {value[0]!r}; use `type: fixed`, or add choices")
        return value

    def distribution(self) -> BaseDistribution:
        """As Optuna samples it."""
        return CategoricalDistribution(self.choices)

    def contains(self, value: Scalar) -> bool:
        """Whether the value is one of the choices."""
        return value in self.choices

    @property
    def count(self) -> int:
        """Number of choices."""
        return len(self.choices)

    def values(self) -> Iterator[Scalar]:
        """The choices in their order."""
        yield from self.choices

    def probes(self) -> tuple[Scalar, ...]:
        """All choices."""
        return self.choices

    def bounds(self) -> dict[str, Scalar]:
        """Values that the addressed field must take, by the key they stand under."""
        return {f"choices[{index}]": choice for index, choice in enumerate(self.choices)}


class FixedParameter(_Conditional):
    """A single value, set but not sampled (where `when` holds, if it has one). A bare scalar is short for it.

    Attributes:
        value: what every trial has.
    """

    type: Literal["fixed"]
    value: Scalar

    def distribution(self) -> None:
        """Nothing to sample."""
        return

    def contains(self, value: Scalar) -> bool:
        """Whether it is the value."""
        return value == self.value

    @property
    def count(self) -> int:
        """One."""
        return 1

    def values(self) -> Iterator[Scalar]:
        """The value."""
        yield self.value

    def probes(self) -> tuple[Scalar, ...]:
        """The value."""
        return (self.value,)

    def bounds(self) -> dict[str, Scalar]:
        """Values that the addressed field must take, by the key they stand under."""
        return {"value": self.value}


Parameter = Annotated[
    FloatParameter | IntParameter | CategoricalParameter | FixedParameter, Field(discriminator="type")
]

"""Training computes what it computed when the goldens were written.

On one machine the numbers are equal to the bit; between CPUs the matrix library sums in another order, so they are
compared to a relative 1e-5 (KL, a small difference of large numbers, to 1e-6 absolute too).
"""

from __future__ import annotations

import json

import pytest

from tests.selector.regenerate_goldens import FOLDER, NUMBERS, compute


@pytest.fixture(scope="module")
def found() -> dict[str, list[dict[str, float | None]]]:
    return compute()


@pytest.mark.parametrize(("stage", "epochs"), [("rce", 3), ("grpo", 4)])
def test_goldens(stage: str, epochs: int, found: dict[str, list[dict[str, float | None]]]) -> None:
    file = FOLDER / f"{stage}.json"
    assert file.exists(), f"{file.name} is missing; it is written by python -m tests.selector.regenerate_goldens only"
    golden = json.loads(file.read_text(encoding="utf-8"))
    assert len(golden) == len(found[stage]) == epochs
    for epoch, (expected, row) in enumerate(zip(golden, found[stage], strict=True), 1):
        assert expected.keys() == row.keys() == set(NUMBERS)
        for name, value in expected.items():
            assert row[name] == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-6)), (epoch, name)


def test_two_runs_are_equal_to_the_bit(found: dict[str, list[dict[str, float | None]]]) -> None:
    assert compute() == found

"""Which trials a comparison takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selector.health import Verdict
from sweep.study import Standing
from sweep.study.ranking import compared
from tests.sweep.report.test_trials import summary


@pytest.mark.parametrize(
    ("judged", "shown", "taken"),
    [(2, 2, False), (4, 2, False), (2, 4, True), (1, 2, True), (4, 4, False), (None, 4, True), (None, 0, False)],
)
def test_a_no_op_label_is_about_the_picks_that_were_compared(judged: int | None, shown: int, taken: bool) -> None:
    row = replace(summary(0), standing=Standing((Verdict.NO_OP,), shots=judged))
    other = replace(summary(1), standing=Standing((Verdict.KL_DOMINATED,), shots=judged))
    assert compared([row, other], 5, lambda row: True, shown) == ([row, other] if taken else [other])

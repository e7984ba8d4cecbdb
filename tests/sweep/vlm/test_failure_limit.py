"""One limit for all who count failures."""

import pytest

from sweep.vlm.failure_limit import FailureLimit


@pytest.mark.parametrize(
    ("share", "failed", "total", "exceeded"),
    [
        (0.05, 1, 10, False),  # too few to speak of a share
        (0.05, 19, 19, False),
        (0.05, 1, 20, False),
        (0.05, 2, 20, True),
        (0.0, 0, 20, False),
        (0.0, 1, 20, True),
        (1.0, 20, 20, False),
    ],
)
def test_the_share_counts_from_twenty_results_on(share: float, failed: int, total: int, exceeded: bool) -> None:
    assert FailureLimit(share).is_exceeded(failed, total) is exceeded


def test_on_the_way_the_share_is_of_all_that_will_be() -> None:
    limit = FailureLimit(0.05)
    assert not limit.is_exceeded(5, 100, known=20)
    assert not limit.is_exceeded(19, 100, known=19)
    assert limit.is_exceeded(6, 100, known=20)


def test_its_words_say_from_when_it_judges() -> None:
    assert str(FailureLimit(0.05)) == "the failure limit of 0.05 (evaluation.failure_limit, judged from 20 results on)"

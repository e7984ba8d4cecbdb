"""The audit of metrics: right where one is better than another, and silent where nothing can be told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from selector.arrays import Float64Array
from sweep.evaluation.audit import FEWEST_ROWS, audit
from sweep.evaluation.records import AuditRecord

RANDOM = np.random.default_rng(0)
ACCURACY = RANDOM.uniform(0.5, 0.7, 32)
METRICS = {
    "good": 2 - 3 * ACCURACY + RANDOM.normal(0, 0.03, 32),
    "blind": RANDOM.normal(1, 0.1, 32),
    "wrong": 3 * ACCURACY,
}


def audited(ranked: str, rows: int = 32, metrics: dict[str, Float64Array] = METRICS, seed: int = 0) -> AuditRecord:
    taken = {name: values[:rows] for name, values in metrics.items()}
    return audit(taken, ACCURACY[:rows], list(range(rows)), ranked, seed)


def test_correlations_are_spearmans_with_intervals_around_them() -> None:
    found = audited("blind")
    assert found.rows == 32 and [ruler.ranked for ruler in found.rulers] == [False, True, False]
    for ruler in found.rulers:
        assert ruler.rho == pytest.approx(stats.spearmanr(METRICS[ruler.metric], ACCURACY).statistic)
        assert ruler.interval is not None and ruler.interval[0] <= ruler.rho <= ruler.interval[1]
        assert ruler.interval[1] - ruler.interval[0] > 1e-4
    good, blind, wrong = found.rulers
    assert good.interval is not None and good.interval[1] < -0.8 and wrong.rho == 1
    assert blind.interval is not None and blind.interval[0] < 0 < blind.interval[1]


@pytest.mark.parametrize(
    ("ranked", "said"),
    [
        ("good", "ranks these rows as it should. None is surely better"),
        ("blind", "Trials were ranked and pruned by blind, which ranks these rows worse than good"),
        ("wrong", "by wrong, which ranks these rows worse than good, blind"),
    ],
)
def test_a_bad_metric_in_use_is_named_with_those_that_are_better(ranked: str, said: str) -> None:
    assert said in audited(ranked).conclusion


def test_a_metric_that_ranks_the_wrong_way_round_is_said_to() -> None:
    assert "the wrong way round" in audited("wrong", metrics={"wrong": METRICS["wrong"]}).conclusion


def test_noise_is_not_called_better() -> None:
    """Metrics that know nothing of the accuracy: one of them is called better in at most about 5 % of audits."""
    called = 0
    for seed in range(30):
        draw = np.random.default_rng(seed)
        metrics = {name: draw.normal(size=32) for name in "abcd"}
        found = audit(metrics, ACCURACY, list(range(32)), "a", seed)
        called += "worse than" in found.conclusion
    assert called <= 5, "30 audits at 5 %: more than 5 have a chance below 1 in 100"


@pytest.mark.parametrize("rows", [1, 2, 6, FEWEST_ROWS - 1])
def test_few_rows_cannot_tell(rows: int) -> None:
    found = audited("wrong", rows)
    noun = "1 row" if rows == 1 else f"{rows} rows"
    assert f"cannot be told with {noun}: it takes {FEWEST_ROWS}" in found.conclusion
    assert all(ruler.interval is None for ruler in found.rulers)
    assert all((ruler.rho is None) == (rows < 3) for ruler in found.rulers)
    assert audited("wrong", FEWEST_ROWS).rulers[0].interval is not None


def test_epochs_of_one_trial_count_as_one() -> None:
    """Three copies of each row, owned by its trial, say no more than the rows alone."""
    thrice = {name: np.repeat(values, 3) for name, values in METRICS.items()}
    owners = np.repeat(np.arange(32), 3).tolist()
    found = audit(thrice, np.repeat(ACCURACY, 3), owners, "good", 0)
    alone = audited("good")
    for ours, theirs in zip(found.rulers, alone.rulers, strict=True):
        assert ours.rho == pytest.approx(theirs.rho, abs=1e-9)
        assert ours.interval is not None and theirs.interval is not None
        assert ours.interval == pytest.approx(theirs.interval, abs=1e-9)


def test_what_does_not_vary_has_no_correlation() -> None:
    flat = {"good": np.ones(32), "nan": np.full(32, np.nan)}
    found = audited("good", metrics=flat)
    assert [ruler.rho for ruler in found.rulers] == [None, None] and "does not vary" in found.conclusion

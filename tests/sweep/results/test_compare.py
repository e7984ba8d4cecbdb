"""What users lived through, as comparisons: each comes out as what it was."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selector.config import SelectorConfig
from selector.data import Dataset
from selector.health import Verdict
from selector.lever_plus import write_selector
from selector.model import PointerSelector, build_selector
from selector.reports import EpochReport, Stage
from selector.settings import HealthSettings
from sweep.errors import RunError
from sweep.evaluation.questions import Questions, choose_questions
from sweep.report.compare import comparison_document, render_comparison
from sweep.results.compare import agreement, compare_sides, curves
from sweep.results.compared import Comparison, relative_words
from sweep.results.sides import Side, open_side
from sweep.runs.paths import RunPaths
from sweep.settings.evaluation import SplitName
from sweep.terminal.console import Screen
from tests.selector.worlds import make_dataset

DATASET: Dataset = make_dataset(queries=600, width=10)
QUESTIONS: Questions = choose_questions(DATASET, SplitName.TRAIN, None, 0)
CONFIG = SelectorConfig(10, 12, 1, 1, "static", 0.1, 0.0)


def selector(seed: int = 0) -> PointerSelector:
    """Shaken, so that attention counts."""
    model = build_selector(CONFIG, seed)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(seed)))
    return model.eval()


def moved(model: PointerSelector, relative: float) -> PointerSelector:
    """Every weight moved at random by this much of its size."""
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weights in other.parameters():
            weights.mul_(1 + relative * torch.randn(weights.shape, generator=generator))
    return other


def report(step: int, stage: Stage = Stage.GRPO, **values: object) -> EpochReport:
    plain = {field.name: 1.0 for field in fields(EpochReport)}
    given = {"stage": stage, "epoch": step, "step": step, "parameter_change": {}, "train_queries": 5}
    return EpochReport(**(plain | given | values))  # type: ignore[arg-type]


def compared(*sides: Side) -> Comparison:
    return compare_sides(sides, DATASET, QUESTIONS, 4)


def said(*sides: Side) -> str:
    """All that a person reads, at 80 columns."""
    found = compared(*sides)
    console = Screen(width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(render_comparison(found))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    json.dumps(comparison_document(found), allow_nan=False)
    return " ".join(text.split())


def test_eight_configurations_that_select_the_same_are_one() -> None:
    """Eight numbers, all 55.85 %. Nobody had looked at what they select."""
    model = selector()
    sides = [Side(f"plan {index}", moved(model, 1e-5 * index)) for index in range(8)]
    found = compared(*sides, Side("other", selector(1)))
    assert found.alike == (tuple(range(8)),)
    for pair in found.pairs[:7]:
        assert 0 < pair.relative < 1e-3 and pair.agreement.order[-1] > 0.99
        assert (
            pair.sentences[0].startswith("The weights differ by 0.00") and "functionally the same" in pair.sentences[0]
        )
    assert "functionally" not in found.pairs[7].sentences[0]
    assert "Functionally the same: plan 0, plan 1, plan 2, plan 3, plan 4, plan 5, plan 6, plan 7." in said(
        *sides, Side("other", selector(1))
    )


@pytest.mark.parametrize(
    ("change", "said"), [(0.00034, "0.034 %"), (0.17, "17 %"), (1.44, "144 %"), (float("nan"), "from 0")]
)
def test_a_relative_change_is_said_without_powers_of_ten(change: float, said: str) -> None:
    assert relative_words(change) == said


def test_equal_weights_are_said_to_be_equal() -> None:
    (pair,) = compared(Side("a", selector()), Side("b", selector())).pairs
    assert pair.relative == 0 and pair.agreement.order == (1.0,) * 4 and pair.agreement.examples == ()
    assert pair.sentences == (
        f"The weights are equal, the same demonstrations for 100 % of {len(QUESTIONS)} questions: functionally the "
        "same.",
    )


def test_a_loss_that_is_almost_only_kl_and_a_signal_that_is_dead_are_named() -> None:
    """92 % of the loss was the KL penalty, and the advantage's standard deviation 0.006 whatever was done."""
    text = said(
        Side("7", selector(), verdicts=(Verdict.KL_DOMINATED, Verdict.DEAD_SIGNAL)),
        Side("8", selector(1), verdicts=(Verdict.NO_OP,)),
    )
    assert "7: its loss is almost only the KL penalty." in text
    assert "7: its rewards hardly differ within a group" in text
    assert "8: changed nothing of what its warm-up selects." in text


def test_a_last_epoch_that_is_worse_than_an_early_one_is_named() -> None:
    """Epoch 50 worse than epoch 2."""
    curve = tuple(report(step, val_loss=2.0 + abs(step - 2) / 10) for step in range(1, 51))
    text = said(Side("a", selector(), reports=curve), Side("b", selector(1)))
    assert "a: val_loss is lowest at epoch 2 of 50 (2.0000), and 6.8000 at the last one." in text
    undone = (report(1, Stage.RCE, val_loss=1.5), *(report(step, val_loss=float(step)) for step in (2, 3)))
    text = said(Side("a", selector(), reports=undone), Side("b", selector(1)))
    assert "GRPO never went below the val_loss of the warm-up, 1.5000 at epoch 1 (GRPO: 2.0000)." in text
    steady = tuple(report(step, val_loss=1.0 / step) for step in range(1, 6))
    assert (
        "lowest at epoch" not in said(Side("a", selector(), reports=steady), Side("b", selector(1))).split("Curves")[0]
    )


def test_one_warm_up_of_both_is_named() -> None:
    """All runs silently started from one RCE checkpoint."""
    both = Side("a", selector(), warm_up="x"), Side("b", selector(1), warm_up="x")
    assert "Both started from the same warm-up." in said(*both)
    assert "Both started" not in said(both[0], replace(both[1], warm_up="y"))


def test_curves_have_every_number_with_its_own_epoch() -> None:
    found = curves([report(1, val_loss=3.0, kl=None), report(2, val_loss=1.0, kl=0.5), report(3, val_loss=2.0, kl=0.1)])
    one = found["val_loss"]
    assert (one.mean, one.first, one.last, one.lowest, one.lowest_step, one.change) == (2.0, 3.0, 2.0, 1.0, 2, -1.0)
    assert (found["kl"].first, found["kl"].lowest_step) == (0.5, 3)
    reported = {field.name for field in fields(EpochReport)}
    assert reported - found.keys() == {
        "stage", "epoch", "step", "seconds", "queries_per_second", "train_queries", "parameter_change",
    }  # fmt: skip
    assert math.isfinite(curves([report(1, kl=math.nan), report(2, kl=3.0)])["kl"].lowest)


@given(
    st.integers(1, 5).flatmap(
        lambda shots: st.lists(st.tuples(*[st.permutations(range(6)).map(lambda row: row[:shots])] * 2), min_size=1)
    )
)
def test_agreement_is_what_counting_gives(pairs: list[tuple[list[int], list[int]]]) -> None:
    first, second = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    found = agreement(first, second, np.arange(len(pairs)))
    for place in range(first.shape[1]):
        assert found.position[place] == pytest.approx(np.mean([a[place] == b[place] for a, b in pairs]))
        assert found.sets[place] == pytest.approx(
            np.mean([set(a[: place + 1]) == set(b[: place + 1]) for a, b in pairs])
        )
        assert found.order[place] == pytest.approx(np.mean([a[: place + 1] == b[: place + 1] for a, b in pairs]))
    differ = [number for number, (a, b) in enumerate(pairs) if a != b][:5]
    assert [one.item for one in found.examples] == differ
    assert all(one.first != one.second for one in found.examples)


def test_architectures_that_differ_are_compared_by_what_they_select() -> None:
    wide = build_selector(replace(CONFIG, hidden=24, layers=2), 0).eval()
    (pair,) = compared(Side("a", selector()), Side("b", wide)).pairs
    assert pair.tensors is None and pair.sentences[0].startswith("The architectures differ, the same demonstrations")


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ([Side("a", selector())], "at least two"),
        (
            [Side("a", selector()), Side("b", build_selector(replace(CONFIG, width=9), 0))],
            "b reads embeddings of width 9, the run's data has 10",
        ),
    ],
)
def test_what_cannot_be_compared(sides: list[Side], message: str) -> None:
    with pytest.raises(RunError, match=message):
        compared(*sides)


def test_files_of_lever_plus_and_exports_are_sides(tmp_path: Path) -> None:
    model, paths, health = selector(), RunPaths.at(tmp_path / "runs" / "mine"), HealthSettings()
    write_selector(model, tmp_path / "grpo_epoch2.pt")
    theirs = open_side(str(tmp_path / "grpo_epoch2.pt"), paths, health, heads=1)
    (pair,) = compared(Side("ours", model), theirs).pairs
    assert pair.relative == 0 and pair.agreement.order[-1] == 1
    for text, heads, message in (
        ("grpo_epoch2.pt", None, "does not hold the number of attention heads"),
        ("other.bin", 1, "ends in .pt or .ckpt"),
        ("nothing", 1, "neither a trial's number"),
        ("..", 1, "neither a trial's number"),
    ):
        (tmp_path / "other.bin").touch()
        with pytest.raises(RunError, match=message):
            open_side(str(tmp_path / text), paths, health, heads)

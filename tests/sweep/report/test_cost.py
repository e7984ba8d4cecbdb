"""What a plan will cost, in words that fit a terminal."""

from __future__ import annotations

import io

import pytest

from sweep.plan.cost.records import Cost, Phase, SampleSize
from sweep.report.cost import amount_text, cost_table, hours_text, size_text
from sweep.terminal.console import Screen

ASKED = {"prompts": 34000, "known": 1200, "tokens": 4.3e7, "computed": 3.9e7, "images": 14031, "tokens per image": 391}
TRAINED = {"trials": 60, "trained again": 9, "epochs": 1164, "queries": 2040}


def text(seconds: float | None, gpu: float | None = None) -> str:
    phases = (
        Phase("embed", {"images": 14031, "questions": 14055, "width": 768}, 2.5e15, False, 1, seconds, gpu),
        Phase("collect", ASKED, 2.89e17, False, 1, seconds, gpu),
        Phase("train", TRAINED, 3e15, True, 16, seconds, None),
    )
    size = SampleSize(0.2, True, {1: 21_000, 2: 5_235}, 800, 5.1)
    measured = None if seconds is None else "NVIDIA H100"
    cost = Cost(phases, 28e9, "cuda", 4e8, 4.5e7, {"answers": 5e6, "trials": 2e8}, size, measured)
    stream = io.StringIO()
    Screen(file=stream, width=80).print(cost_table(cost))
    assert max(map(len, stream.getvalue().splitlines())) <= 80
    return " ".join(stream.getvalue().split())


def test_counts_without_times() -> None:
    said = text(None)
    assert "embed 14,031 images and 14,055 questions, width 768, 2.5 PFLOP" in said
    assert "collect 34,000 prompts (1,200 known already), 43 M tokens (39 M not shared)" in said
    assert "14,031 images of 391 tokens, 289 PFLOP" in said
    assert "train at most 60 trials and 9 finalists, 1,164 epochs of 2,040 queries" in said
    assert "a worker of the model 28 GB of GPU memory; a trial 400 MB" in said
    assert "to tell a difference of 1 point 21,000, 2 points 5,235 (two measured beams of a query differ so)" in said
    assert (
        "the 800 that are asked tell 5.1 points" in said and "--measure` says how long" in said and "in all" not in said
    )


def test_times_and_gpu_hours() -> None:
    said = text(2 * 3600.0, 2 * 3600.0)
    assert "289 PFLOP: 2.0 h with 1 at a time, 2.0 h of GPU" in said
    assert "in all 6.0 h, 4.0 h of GPU" in said and "measured on NVIDIA H100" in said


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (amount_text(999, "tokens"), "999 tokens"),
        (amount_text(1.23456e6, "tokens"), "1.23 M tokens"),
        (amount_text(5e13, "FLOP"), "50 TFLOP"),
        (hours_text(59), "59 s"),
        (hours_text(89 * 60), "89 min"),
        (hours_text(5400), "1.5 h"),
        (size_text(999), "999 bytes"),
        (size_text(2.5e9), "2.5 GB"),
    ],
)
def test_units(made: str, said: str) -> None:
    assert made == said

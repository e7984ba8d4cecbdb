"""What training promises, on the card: no movement without a step, no effect of padding, the known losses.

The worlds and the goldens are those of the tests; the CPU's goldens were computed in float32, and float64 is within
1e-6 of them.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from benchmarks.gpu_check.record import Options, Result, run_group
from selector.data import Dataset
from selector.reports import EpochReport, Stage
from selector.settings import TrialSettings, ValidationSettings
from selector.training import GrpoStage, RceStage, Training
from selector.training.stage import copy_weights
from selector.validation import Evaluator
from tests.selector.regenerate_goldens import FOLDER, compute
from tests.selector.worlds import (
    deterministic,
    in_double,
    make_dataset,
    make_settings,
    measure,
    same_weights,
    shake,
    tensors_of,
)

DECODERS, ESTIMATORS = ("static", "gate"), ("exact", "k3")
CPU = torch.device("cpu")
RAGGED = 1e-5  # differences of losses, and of gradients relative to their length
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # of goldens; tf32 products would miss them by ten times and more


def learning_rate_zero(options: Options) -> Result:
    """Invariant 1: KL and |ratio - 1| with dropout 0.5 and learning rate 0. Wanted: 0, exactly."""
    shapes = {"small": (17, 24, 3, (5, 12), 7)}
    if not options.tiny:
        shapes["users'"] = (768, 256, 4, (64, 64), 32)
    rows: list[dict[str, Any]] = []
    for name, (width, hidden, heads, pools, batch) in shapes.items():
        dataset = make_dataset(seed=1, queries=25 if options.tiny else 96, width=width, pools=pools, picks=3)
        for decoder in DECODERS:
            for estimator in ESTIMATORS:
                grpo = {"epochs": 3, "lr": 0.0, "batch_size": batch, "kl_estimator": estimator, "weight_decay": 0.1}
                settings = make_settings(
                    model={"decoder": decoder, "hidden": hidden, "heads": heads, "dropout": 0.5},
                    rce={"epochs": 1, "batch_size": batch},
                    grpo=grpo,
                )
                rows.append({"shape": name, "decoder": decoder, "kl": estimator} | _moved(settings, dataset, options))
    wrong = sum(row["largest_kl"] != 0 or row["largest_ratio_error"] != 0 for row in rows)
    return {"holds": wrong == 0, "wanted": "0 exactly", "not_zero": wrong, "rows": rows}


def _moved(settings: TrialSettings, dataset: Dataset, options: Options) -> Result:
    reports = [one for one in Training(settings, dataset, device=options.device) if one.stage is Stage.GRPO]
    return {
        "largest_kl": max(abs(_number(one.kl)) for one in reports),
        "largest_ratio_error": max(
            max(abs(_number(value) - 1) for value in (one.ratio_min, one.ratio_max)) for one in reports
        ),
        "parameter_change": max(max(one.parameter_change.values()) for one in reports),
        "grad_norm": min(one.grad_norm for one in reports),
    }


def _number(value: float | None) -> float:
    assert value is not None  # GRPO has all of them
    return value


def ragged(options: Options) -> Result:
    """Invariant 3: one ragged batch against the same queries one at a time; and the card against the CPU in float64."""
    rows: list[dict[str, Any]] = []
    for stage in ("rce", "grpo"):
        for decoder in DECODERS:
            here = _stage(stage, decoder, options.device)
            together = measure(here, [list(range(len(here.queries)))])
            singly = measure(here, [[query] for query in range(len(here.queries))])
            exact = _stage(stage, decoder, CPU)
            in_double(exact)
            reference = measure(exact, [list(range(len(exact.queries)))])
            rows.append(
                {
                    "stage": stage,
                    "decoder": decoder,
                    "loss": float(together[0]),
                    "loss_difference": abs(float(together[0]) - float(singly[0])),
                    "gradient_difference": _relative(together[1], singly[1]),
                    "loss_error_to_float64": abs(float(together[0]) - float(reference[0])),
                    "gradient_error_to_float64": _relative(together[1], reference[1]),
                }
            )
    worst = max(max(row["loss_difference"], row["gradient_difference"]) for row in rows)
    return {"holds": worst < RAGGED, "wanted": f"below {RAGGED:g}", "worst": worst, "rows": rows}


def _stage(name: str, decoder: str, device: torch.device) -> RceStage | GrpoStage:
    """A stage whose policy has moved away from its reference."""
    dataset = make_dataset()
    settings = make_settings(model={"decoder": decoder}, grpo={"kl_beta": 0.5})
    data = tensors_of(dataset, device)
    evaluate = Evaluator(data, ValidationSettings())
    rce = RceStage(settings, data, evaluate)
    shake(rce.model.cpu(), seed=4)  # noise comes from the CPU's generator
    rce.model.to(device)
    if name == "rce":
        rce.epoch = 1
        return rce
    grpo = GrpoStage(settings, data, evaluate, copy_weights(rce.model))
    shake(grpo.model.cpu(), seed=9, scale=0.01)
    grpo.model.to(device)
    grpo.epoch = 1
    return grpo


def _relative(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """|found - wanted| / |wanted| over all parameters together."""
    pairs = [(found[name].cpu().double(), value.cpu().double()) for name, value in wanted.items()]
    off = sum(float((one - other).square().sum()) for one, other in pairs)
    size = sum(float(other.square().sum()) for _, other in pairs)
    return float((off / size) ** 0.5)


def goldens(options: Options) -> Result:
    """Losses of both stages against the goldens of the tests, which a CPU computed."""
    found = compute(options.device)
    worst: dict[str, float] = {}
    outside = 0
    for stage, rows in found.items():
        golden: list[dict[str, float | None]] = json.loads((FOLDER / f"{stage}.json").read_text(encoding="utf-8"))
        for row, expected in zip(rows, golden, strict=True):
            for name, value in expected.items():
                if value is not None:
                    off = abs(_number(row[name]) - value)
                    outside += off > ABSOLUTE + RELATIVE * abs(value)
                    worst[name] = max(worst.get(name, 0.0), off)
    tolerance = f"{ABSOLUTE:g} + {RELATIVE:g} of the value"
    return {"holds": outside == 0, "tolerance": tolerance, "outside": outside, "largest_difference": worst}


def repeatable(options: Options) -> Result:
    """Whether two runs of the same trial are equal to the bit: what resuming and `sweep verify` would like."""
    found: Result = {}
    for decoder in DECODERS:
        settings = make_settings(model={"decoder": decoder}, rce={"epochs": 2}, grpo={"epochs": 3})
        dataset = make_dataset(seed=5, queries=25 if options.tiny else 200, groups=(6, 20))
        runs = [_run(settings, dataset, options) for _ in range(2)]
        found[decoder] = {
            "weights_equal": same_weights(runs[0][0], runs[1][0]),
            "reports_equal": runs[0][1] == runs[1][1],
            "difference": _relative(runs[0][0], runs[1][0]),
        }
    return found


def _run(
    settings: TrialSettings, dataset: Dataset, options: Options
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    training = Training(settings, dataset, device=options.device)
    reports: list[EpochReport] = list(training)
    return copy_weights(training.model), [deterministic(report) for report in reports]


STEPS = {"learning_rate_zero": learning_rate_zero, "ragged": ragged, "goldens": goldens, "repeatable": repeatable}

if __name__ == "__main__":
    run_group(STEPS)

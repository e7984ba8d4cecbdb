"""Runs with any number of trials in any state, written without training: a formula gives their curves.

`val_loss` falls with the learning rate and with nothing else, so what mattered is known.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json

from sweep.driver.create import NewRun, create_run
from sweep.runs.paths import RunPaths, sqlite_url
from sweep.storage.local import stored_at
from sweep.study.records import FORMAT, store_records
from sweep.study.summaries import configuration_key
from tests.sweep.plans import plan_of_space
from tests.sweep.spaces import SMALL

RCE, GRPO = 2, 3
BEGAN = datetime(2026, 1, 2, 3, 4, 5)
DISTRIBUTIONS = {
    "grpo.kl_beta": FloatDistribution(0.01, 0.5, log=True),
    "grpo.lr": FloatDistribution(1e-5, 1e-2, log=True),
    "reward.mode": CategoricalDistribution(["hard_plus_soft", "separated"]),
}


def made_run(folder: Path, states: Sequence[str], reason: str = "", space: dict[str, Any] | None = None) -> RunPaths:
    """The run `made` with a trial for each state.

    Args:
        folder: of runs.
        states: `complete`, `pruned`, `fail` or `running`.
        reason: why trials failed.
        space: sections instead of those of `SMALL`.
    """
    file = folder / "made.yaml"
    sections = yaml.safe_load(SMALL) | {"budget": {"trials": max(len(states), 1)}} | (space or {})
    file.write_text(yaml.safe_dump(sections))
    plan = plan_of_space(file)
    paths = create_run(plan, NewRun(stored_at(folder), "made"))
    records = []
    for number, state in enumerate(states):
        params = _params(number)
        reports = reports_of(number, params, {"pruned": RCE + 1, "fail": 0}.get(state, RCE + GRPO))
        if reports:
            history = paths.trial(number).history_file
            history.write_text("".join(json.dumps(one) + "\n" for one in reports))
        records.append(_record(number, state, params, reports, reason))
    store_records(sqlite_url(paths.study_file.local()), "made", plan.space, records)
    return paths


def _params(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    return {
        "grpo.kl_beta": math.exp(draw.uniform(math.log(0.01), math.log(0.5))),
        "grpo.lr": math.exp(draw.uniform(math.log(1e-5), math.log(1e-2))),
        "reward.mode": draw.choice(["hard_plus_soft", "separated"]),
    }


def reports_of(number: int, params: dict[str, Any], epochs: int) -> list[dict[str, Any]]:
    """The epochs of a trial, as its file has them."""
    draw = random.Random(number)
    found = []
    for step in range(1, epochs + 1):
        grpo = max(0, step - RCE)
        gain = 0.1 * (math.log10(params["grpo.lr"]) + 5) / 3 * grpo
        only_grpo = {
            "policy_loss": -0.1,
            "kl": 0.1 * grpo,
            "kl_share": 0.2,
            "ratio_mean": 1.0,
            "ratio_min": 0.5,
            "ratio_max": 2.0,
            "clip_fraction": 0.05 * grpo,
            "advantage_mean": 0.0,
            "advantage_std": 0.8,
            "advantage_max": 2.0,
            "beta": params["grpo.kl_beta"],
        }
        found.append(
            {
                "stage": "grpo" if grpo else "rce",
                "epoch": grpo or step,
                "step": step,
                "train_loss": 3.0 - gain,
                **{name: value if grpo else None for name, value in only_grpo.items()},
                "zero_variance_share": 0.3,
                "tau": None if grpo else 1.0,
                "lr": params["grpo.lr"] if grpo else 1e-3,
                "grad_norm": 1.0,
                "entropy": 3.0 - 0.1 * step,
                "agreement_top1": 0.5,
                "agreement_sequence": 0.25,
                "parameter_change": {"input_proj": 0.1},
                "val_loss": 2.7 - 0.01 * min(step, RCE) - gain + (0.002 * draw.random() if grpo else 0.0),
                "val_reward": 0.8,
                "train_queries": 40,
                "queries_per_second": 1000.0,
                "seconds": 0.5,
            }
        )
    return found


def _record(
    number: int, state: str, params: dict[str, Any], reports: list[dict[str, Any]], reason: str
) -> dict[str, Any]:
    losses = {str(one["step"]): one["val_loss"] for one in reports}
    best = min(reports, key=lambda one: (one["val_loss"], one["step"]), default=None)
    ended = state != "running"
    attributes: dict[str, Any] = {
        "plan": {"configuration": number, "repeat": 0},
        "trial": {"key": configuration_key(params), "rce_epochs": RCE, "seed": 0, "attempt": 1},
    }
    if ended and best is not None:
        attributes["standing"] = {
            "verdicts": [],
            "best_step": best["step"],
            "best_loss": best["val_loss"],
            "agreement": 0.25,
            "rce_digest": "0" * 64,
            "shots": 2,
        }
    if state == "pruned":
        attributes |= {"reason": "median pruner", "prune_at": reports[-1]["step"]}
    if state == "fail":
        attributes["reason"] = reason or "CUDA out of memory"
    value = None if best is None else best["val_loss"] if state == "complete" else reports[-1]["val_loss"]
    start = BEGAN + timedelta(seconds=10 * number)
    return {
        "format": FORMAT,
        "number": number,
        "state": state,
        "value": value if state in ("complete", "pruned") else None,
        "params": params,
        "distributions": {name: json.loads(distribution_to_json(one)) for name, one in DISTRIBUTIONS.items()},
        "intermediate_values": losses,
        "user_attrs": attributes,
        "system_attrs": {},
        "started": start.isoformat(),
        "ended": (start + timedelta(seconds=8)).isoformat() if ended else None,
    }

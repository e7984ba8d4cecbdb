"""Exact losses of both stages for one seed on the CPU. `python -m tests.selector.regenerate_goldens` rewrites them.

Nothing else ever writes these files: a changed number is a change of what training computes, to be explained in review.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from selector.reports import Stage
from selector.settings import ValidationMetric, ValidationSettings
from selector.training import train
from tests.selector.worlds import make_dataset, make_settings

FOLDER = Path(__file__).parent / "goldens"
NUMBERS = ("train_loss", "val_loss", "kl", "beta", "entropy", "grad_norm")


def compute(device: str | torch.device = "cpu") -> dict[str, list[dict[str, float | None]]]:
    """Per stage, one row of numbers per epoch. What is stored was computed on the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settings = make_settings(
            model={"layers": 2, "dropout": 0.3},
            rce={"epochs": 3, "lr": 1e-3, "label_smoothing": 0.05, "schedule": "cosine", "warmup_fraction": 0.2},
            grpo={"epochs": 4, "lr": 1e-3, "old_policy_refresh": 2, "adaptive_beta": {"enabled": True}},
            seed=2024,
        )
        # The metric that was the default when the numbers were written: a fit of a temperature hides small changes.
        validation = ValidationSettings(metric=ValidationMetric.LISTWISE)
        reports = list(train(settings, make_dataset(seed=3), validation, device))
    finally:
        torch.set_num_threads(threads)
    return {
        stage.value: [{name: getattr(r, name) for name in NUMBERS} for r in reports if r.stage is stage]
        for stage in Stage
    }


def main() -> None:
    """Write both files."""
    FOLDER.mkdir(exist_ok=True)
    for name, rows in compute().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        print(f"wrote goldens/{name}.json: {len(rows)} epochs")


if __name__ == "__main__":
    main()

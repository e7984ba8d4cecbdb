"""The spaces that are disturbed: from collecting to the table by answers, in well under a minute."""

from __future__ import annotations

import copy
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

NAME = "chaos"  # of every run

BASE: dict[str, Any] = {
    "name": NAME,
    "items": {
        "demo": {
            "demonstrations": 200,
            "train": 24,
            "val": 12,
            "test": 16,
            "concepts": 16,
            "smallest_pool": 16,
            "largest_pool": 24,
        }
    },
    "vlm": {
        "model": {"path": "demo"},
        "images": {"min_pixels": 784, "max_pixels": 12544},
        "decoding": {"max_new_tokens": 4},
        "workers": {"count": 1, "batch": 8},
    },
    "collect": {"beams": {"similarity": 1, "similarity_sampled": 2, "random": 1}},
    "trial": {
        "model": {"hidden": 16, "heads": 2, "dropout": 0.2},
        "rce": {"epochs": 4, "lr": 2e-3, "reward": {"mode": "hard_plus_soft"}},
        "grpo": {"epochs": 16},
    },
    "parameters": {
        "grpo.lr": {"type": "float", "low": 1e-4, "high": 4e-3, "log": True},
        "grpo.kl_beta": {"type": "float", "low": 0.01, "high": 0.5, "log": True},
        "reward.mode": {"type": "categorical", "choices": ["hard_plus_soft", "soft_only"]},
    },
    "budget": {"trials": 6},
    # A kill is no fault of the trial: more retries than one run has kills.
    "max_retries": 9,
    "evaluation": {
        "shots": 2,
        "samples": None,
        "top": 2,
        "resamples": 1000,
        "finalists": {"count": 1, "seeds": 1},
    },
}


class Mode(StrEnum):
    """How a run is set up.

    ONE: one trial at a time, so that even sampler and pruner, which learn from what came before, must give the same.
    TWO: two at a time; what a trial draws then depends on its number alone (random sampler, no pruner).
    CLUSTER: the space of TWO on a cluster of two local raylets, which outlives the driver.
    S3: the space of ONE, kept on an S3 server; every start has an empty cache, as another machine would.
    """

    ONE = "one"
    TWO = "two"
    CLUSTER = "cluster"
    S3 = "s3"

    @property
    def reference(self) -> Mode:
        """The mode whose undisturbed run has the same space."""
        return {Mode.CLUSTER: Mode.TWO, Mode.S3: Mode.ONE}.get(self, self)


def space(mode: Mode, *, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """The space of a mode.

    Args:
        mode: see `Mode`.
        quick: four short trials and no finalists, which cost a worker's start: the form for the suite.
        tiny: the fewest epochs and trials that still write everything there is to write.
    """
    found = copy.deepcopy(BASE)
    if mode.reference is Mode.ONE:
        found |= {
            "concurrency": 1,
            "sampler": {"type": "tpe", "n_startup_trials": 3},
            "pruner": {"type": "median", "n_startup_trials": 2},
        }
    else:
        found |= {"concurrency": 2, "sampler": {"type": "random"}, "pruner": {"type": "none"}}
    if quick:
        del found["evaluation"]["finalists"]
        found["trial"]["grpo"]["epochs"] = 8
        found["budget"] = {"trials": 4}
    if tiny:
        found["trial"]["rce"]["epochs"], found["trial"]["grpo"]["epochs"] = 1, 2
        found["budget"] = {"trials": 2}
    return found


def write_space(folder: Path, content: dict[str, Any]) -> Path:
    """Write a space's file and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(content))
    return file

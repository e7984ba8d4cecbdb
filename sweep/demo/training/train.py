"""Train the demo model from nothing: `python -m sweep.demo.training.train --out FOLDER [--seed N]`.

Takes about half an hour on one CPU core. Everything is keyed to steps, not to seconds, so the result does not depend on
the machine's speed. A loadable checkpoint is in FOLDER from the first minutes on and replaced every 500 steps.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from sweep.demo.model import build_model, write_model
from sweep.demo.training.train_text import TextTrainer
from sweep.demo.training.train_vision import train_vision

VISION_STEPS = 4000


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m sweep.demo.training.train", description="Train the demo model.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="more than one change the result in the last digits")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    model = build_model(arguments.seed)
    report(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    train_vision(model, VISION_STEPS, arguments.seed, report)
    write_model(model, arguments.out)
    trainer = TextTrainer(model, arguments.seed)
    trainer.run(report, lambda step: write_model(model, arguments.out))
    write_model(model, arguments.out)
    report(f"written to {arguments.out}")


if __name__ == "__main__":
    main()

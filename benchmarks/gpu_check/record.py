"""The file of results, and the process that runs the steps of one group.

One JSON object a line. The first is the header: what was measured, on which card, with which versions. Every other is
one step: its name, seconds it took, seconds since the run began, and either `result` or `error`. A line is on disk
before the next step begins, so that whoever is cut off loses one step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine

Result = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Of a run. `tiny`: everything in a size that a CPU does in seconds."""

    device: torch.device
    tiny: bool

    @property
    def on_gpu(self) -> bool:
        """Whether anything said here is about a GPU."""
        return self.device.type == "cuda"


Step = Callable[[Options], Result]


def append(file: Path, line: Mapping[str, Any]) -> None:
    """Add a line and see that it is on disk."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read(file: Path) -> list[Result]:
    """All whole lines; what was cut off in the middle of its last line is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            found.append(json.loads(line))
    return found


def header(options: Options) -> Result:
    """What was measured, where and with what."""
    size = "tiny" if options.tiny else "full"
    return {"header": 1, "device": options.device.type, "size": size, **machine(options.device)}


def run_step(name: str, step: Step, options: Options, file: Path, began: float) -> bool:
    """Do one step and write its line; whether it worked."""
    started = time.time()
    line: Result = {"step": name}
    try:
        line["result"] = step(options)
    except Exception as error:  # whatever a card may do; the next step shall still be tried
        line["error"] = f"{type(error).__name__}: {error}"[:2000]
        line["trace"] = traceback.format_exc()[-4000:]
    now = time.time()
    append(file, line | {"seconds": round(now - started, 2), "at": round(now - began, 2)})
    return "error" not in line


def run_group(steps: Mapping[str, Step]) -> None:
    """Main function of a group's process: the steps named, in order.

    After a failed step the process ends, since a CUDA error spoils all that follows in it. Whoever started it starts
    another one for the rest.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--size", choices=["full", "tiny"], required=True)
    parser.add_argument("--began", type=float, required=True)
    parser.add_argument("--steps", nargs="+", choices=list(steps), required=True)
    arguments = parser.parse_args()
    options = Options(torch.device(arguments.device), arguments.size == "tiny")
    if not options.on_gpu:
        torch.set_num_threads(1)
    for name in arguments.steps:
        if not run_step(name, steps[name], options, arguments.out, arguments.began):
            sys.exit(1)

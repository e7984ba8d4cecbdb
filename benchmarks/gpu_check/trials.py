"""Trials side by side on one card: 1, 4 and 16 processes that train the same shape at the same time.

All processes are started once and wait. In a round some of them train for the same number of epochs; what counts is the
time from the common start until the last one is done.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import IO, Any

import torch

from benchmarks.gpu_check.record import Options, Result, run_group

COUNTS = (1, 4, 16)
EPOCHS = 2  # of each stage in a round
GO = "go\n"


class Worker:
    """One trial's process. Reads `go`, trains, writes one line of JSON."""

    def __init__(self, options: Options, number: int) -> None:
        size = "tiny" if options.tiny else "full"
        command = [sys.executable, "-m", "benchmarks.gpu_check.one_trial", str(options.device), size, str(number)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def go(self) -> None:
        """Train."""
        stream = _stream(self.process.stdin)
        stream.write(GO)
        stream.flush()

    def line(self) -> dict[str, Any]:
        """What it says next. Raises RuntimeError when it has ended."""
        text = _stream(self.process.stdout).readline()
        if not text:
            raise RuntimeError(f"a trial's process ended with code {self.process.wait()}")
        said: dict[str, Any] = json.loads(text)
        return said


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both are pipes
    return stream


def trials(options: Options) -> Result:
    """Queries per second of each and of all, by how many share the card."""
    counts = (1, 2) if options.tiny else COUNTS
    workers = [Worker(options, number) for number in range(max(counts))]
    try:
        started = [worker.line() for worker in workers]
        rows = []
        for count in counts:
            began = time.perf_counter()
            for worker in workers[:count]:
                worker.go()
            done = [worker.line() for worker in workers[:count]]
            seconds = time.perf_counter() - began
            each = sorted(one["queries"] / one["seconds"] for one in done)
            row = {"trials": count, "seconds": round(seconds, 2), "epochs": done[0]["epochs"]}
            row["queries_per_s"] = round(sum(one["queries"] for one in done) / seconds)
            row["slowest_queries_per_s"], row["fastest_queries_per_s"] = round(each[0]), round(each[-1])
            rows.append(row)
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
    found: Result = {"rows": rows, "start_s": round(max(one["start_s"] for one in started), 1)}
    if options.on_gpu:
        free, total = torch.cuda.mem_get_info(options.device)
        found["peak_mb_each"] = max(one["peak_mb"] for one in done)
        found["card_mb"] = round((total - free) / 1e6)
    return found


STEPS = {"trials": trials}

if __name__ == "__main__":
    run_group(STEPS)

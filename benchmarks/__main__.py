"""All benchmarks of speed in a short form, one table of ratios.

    python -m benchmarks [--only NAME ...] [--out build/bench.json]

Each runs in a process of its own. What it prints goes to a file beside `--out`, and one that fails is said so at the
end, while the others go on. The table holds every figure against the accepted one (`benchmarks.history`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import figures
from benchmarks.history import Run, lines_of, read_history
from benchmarks.machine import machine

SHORT: dict[str, list[str]] = {
    "encoding": ["--queries-per-round", "15", "--rounds", "3"],
    "engine": ["--queries", "4", "--plain", "12"],
    "pool_overhead": ["--items", "10000"],
    "sweep_overhead": ["--trials", "15"],
    "simulation": ["--trials", "150", "--slots", "64"],
    "search": ["--seeds", "4", "--arms", "tpe + asha", "random"],
}
"""Options of the short form. All of them together take a few minutes on two idle cores."""
SECONDS = 600
"""After which a benchmark is given up."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SHORT), default=list(SHORT), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    collected, said = asked.out.with_suffix(".figures"), asked.out.with_suffix(".log")
    collected.unlink(missing_ok=True)
    failed = []
    with said.open("w", encoding="utf-8") as log:
        for name in asked.only:
            began = time.monotonic()
            print(f"{name} ...", end=" ", flush=True)
            command = [sys.executable, "-m", f"benchmarks.{name}", *SHORT[name], "--figures", str(collected)]
            print(f"\n$ {' '.join(command[1:])}", file=log, flush=True)
            worked = run(command, log.fileno())
            print(f"{time.monotonic() - began:.0f} s" if worked else "failed", flush=True)
            failed += [] if worked else [name]
    found = Run(machine(), tuple(figures.read(collected)))
    asked.out.write_text(found.to_json() + "\n", encoding="utf-8")
    collected.unlink(missing_ok=True)
    print(*lines_of(found, read_history()), sep="\n")
    print(f"in {asked.out}, and all that was said in {said}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; {said} says why")


def run(command: list[str], output: int) -> bool:
    """Whether a benchmark came to its end. What it prints goes to a descriptor."""
    try:
        return subprocess.run(command, stdout=output, stderr=output, timeout=SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    main()

"""The GPU check.

    python -m benchmarks.gpu_check [--out FILE] [--device cuda|cpu] [--size full|tiny] [--only STEP ...]

`--device cpu --size tiny` tries the script itself out in a minute, on a machine without a card; its figures mean
nothing, and no documentation is made of them. The exit code is 0 if every step was done and found what is wanted,
1 if not, 2 if nothing could be begun.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu_check.wheels import IMPORTED, NEEDED, ROOT, install, missing

DEFAULT_OUT = ROOT / "build" / "gpu-check.jsonl"
BUDGET = 465.0  # seconds: eight minutes, less the start


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="file of results; an old one is replaced")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=["full", "tiny"], default="full")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for all steps")
    parser.add_argument("--only", nargs="+", default=None, metavar="STEP", help="these steps alone")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the machine ready, then do all steps."""
    options = parse(arguments)
    began = time.time()
    if lacking := missing(NEEDED):
        return refuse(f"this Python ({sys.executable}) lacks {', '.join(lacking)}")
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as name:
        if missing(IMPORTED) and (problem := install(Path(name))):
            return refuse(problem)
        paths = [name, str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}
        sys.path[:0] = [name]
        return check(options, began)


def check(options: argparse.Namespace, began: float) -> int:
    """Header and steps."""
    import torch

    from benchmarks.gpu_check.groups import chosen
    from benchmarks.gpu_check.record import Options, append, header, read
    from benchmarks.gpu_check.supervisor import Group, broken, supervise

    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        return refuse("torch sees no CUDA card; --device cpu --size tiny tries the script out without one")
    try:
        groups = chosen(options.only)
    except ValueError as error:
        return refuse(str(error))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.unlink(missing_ok=True)
    append(options.out, header(Options(device, options.size == "tiny")))

    def command(group: Group, steps: Sequence[str]) -> list[str]:
        where = ["--out", str(options.out), "--began", str(began)]
        what = ["--device", options.device, "--size", options.size, "--steps", *steps]
        return [sys.executable, "-m", f"benchmarks.gpu_check.{group.module}", *where, *what]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    failed = supervise(groups, command, options.out, options.budget, lambda text: print(text, flush=True))
    wrong = sum(map(broken, read(options.out)))
    print(f"{options.out}: {time.time() - began:.0f} s, {failed} steps failed, {wrong} found what should not be")
    return 1 if failed or wrong else 0


def refuse(problem: str) -> int:
    """Say why nothing is begun."""
    print(f"gpu-check: {problem}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

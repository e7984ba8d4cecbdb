"""The long form: `python -m tests.chaos --runs 30 --seed 0 [--kill-at-each-write]`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.harness import Harness
from tests.chaos.report import Result, totals
from tests.chaos.spaces import Mode
from tests.chaos.writes import killed_at_each

RUNS = 30


def main() -> int:
    options = _options()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sweep-chaos-"))
    print(f"runs in {folder}", flush=True)
    results = []
    for result in _results(options, folder):
        results.append(result)
        print("\n".join(result.lines()), flush=True)
        (folder / "results.json").write_text(json.dumps([one.to_json() for one in results], indent=2) + "\n")
        if result.sound and not options.keep:
            shutil.rmtree(result.course.run.parent.parent)
    print("\n".join(["", *totals(results)]), flush=True)
    return 0 if results and all(result.sound for result in results) else 1


def _results(options: argparse.Namespace, folder: Path) -> Iterator[Result]:
    if options.kill_at_each_write:
        yield from killed_at_each(folder, options.runs, options.seed)
        return
    harness = Harness(folder, options.seed)
    modes = list(Mode) if options.mode is None else [Mode(options.mode)]
    for index in range(options.first, options.first + (RUNS if options.runs is None else options.runs)):
        yield harness.disturbed(index, modes[index % len(modes)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, help=f"how many; default {RUNS}, or every write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first run, to repeat one")
    parser.add_argument("--mode", choices=[mode.value for mode in Mode], help="default: all in turn")
    parser.add_argument("--kill-at-each-write", action="store_true")
    parser.add_argument("--folder", type=Path, help="default: a new temporary one")
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs in which all was well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Samplers and pruners at equal epochs, on recorded surfaces, with intervals over seeds.

    python -m benchmarks.search [demo|votes|FILE] [--epochs 160] [--seeds 20] [--arms NAME ...] [--slots 1]
                                [--lookup interpolation|nearest] [--out FILE]

Each arm is a sampler and a pruner (`benchmarks.search.study`). It searches the surface through the real study,
coordinator and pruner, and a trained curve is looked up in place of each training. One epoch of GRPO costs 1. The
warm-up costs nothing, as the trials of a run share it. An arm is worth the lowest validation loss of the trials that
are complete when so many epochs are spent. With `--out` each study is one line of FILE, and a further call goes on.

Columns: best, the mean over seeds after all epochs; half, after half of them; regret, the distance of `best` to the
lowest of the surface; difference, to the first arm, paired by seed, with its 95 % interval (Student's t over seeds);
trials, that began; pruned, their share; lost best, the share of studies in which pruning stopped the trial that would
have become the best.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import t as student  # type: ignore[import-untyped]

from benchmarks.figures import Figure, add_option, write
from benchmarks.search.study import ARMS, Found, database, search
from benchmarks.search.surface import FOLDER, Lookup, Surface
from selector.arrays import Float64Array

Studies = dict[str, list[Found]]


def studies(
    surface: Surface, arms: Sequence[str], seeds: int, epochs: int, slots: int, out: Path | None = None
) -> Studies:
    """All studies of all arms, by seed. What `out` holds of this very comparison is not done again."""
    asked = {"surface": surface.header["surface"], "points": len(surface), "lookup": surface.lookup,
             "epochs": epochs, "slots": slots}  # fmt: skip
    known: dict[tuple[str, int], Found] = {}
    for line in [] if out is None or not out.exists() else out.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["asked"] == asked:
            known[record["arm"], record["seed"]] = Found.from_json(record["found"])
    left = [(arm, seed) for seed, arm in product(range(seeds), arms) if (arm, seed) not in known]
    with database() as url:
        for arm, seed in left:
            known[arm, seed] = search(surface, arm, seed, epochs, slots, url)
            if out is not None:
                record = {"asked": asked, "arm": arm, "seed": seed, "found": known[arm, seed].to_json()}
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
    return {arm: [known[arm, seed] for seed in range(seeds)] for arm in arms}


def best_at(found: Sequence[Found], cost: float) -> Float64Array:
    """The best value of each study at a cost, float64 [S]. NaN where no trial was complete."""
    values = [one.best(cost) for one in found]
    return np.array([np.nan if value is None else value for value in values])


def table(surface: Surface, found: Studies, epochs: int) -> list[str]:
    """The lines of a table in Markdown."""
    lines = ["| arm | best | half | regret | difference | 95 % | trials | pruned | lost best |"]
    lines.append("| --- " * 9 + "|")
    base_S = best_at(next(iter(found.values())), epochs)
    for place, (arm, all_seeds) in enumerate(found.items()):
        now_S, half_S = best_at(all_seeds, epochs), best_at(all_seeds, epochs / 2)
        trials = np.array([one.trials for one in all_seeds])
        pruned = np.array([one.pruned for one in all_seeds])
        lost = np.mean([one.best_was_pruned for one in all_seeds])
        difference, interval = "", ""
        if place:
            gain_S = now_S - base_S
            low, high = bounds(gain_S)
            difference, interval = f"{gain_S.mean():+.4f}", f"[{low:+.4f}, {high:+.4f}]"
        cells = [arm, f"{now_S.mean():.4f}", f"{half_S.mean():.4f}", f"{now_S.mean() - surface.lowest:.4f}", difference]
        cells += [interval, f"{trials.mean():.1f}", f"{pruned.sum() / trials.sum():.0%}", f"{lost:.0%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def bounds(gain_S: Float64Array) -> tuple[float, float]:
    """The 95 % interval of a mean over seeds, by Student's t. Few seeds, no bound: not a case for the bootstrap."""
    half = float(student.ppf(0.975, len(gain_S) - 1) * gain_S.std(ddof=1) / math.sqrt(len(gain_S)))
    return float(gain_S.mean()) - half, float(gain_S.mean()) + half


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("surface", nargs="?", default="demo", help="demo, votes, or a packed file")
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="NAME")
    parser.add_argument("--lookup", type=Lookup, default=Lookup.INTERPOLATION, choices=list(Lookup))
    parser.add_argument("--out", type=Path)
    add_option(parser)
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error(f"--seeds {asked.seeds}: at least 2, or there is no interval")
    shipped = FOLDER / f"{asked.surface}.jsonl.gz"
    file = shipped if shipped.is_file() else Path(asked.surface)
    if not file.is_file():
        parser.error(f"{asked.surface}: no such surface; there are demo and votes, and files that record pack writes")
    surface = Surface.read(file, asked.lookup)
    if asked.epochs < 2 * surface.grpo_epochs * asked.slots:
        parser.error(f"--epochs {asked.epochs}: at least {2 * surface.grpo_epochs * asked.slots}, two trials a slot")
    found = studies(surface, asked.arms, asked.seeds, asked.epochs, asked.slots, asked.out)
    errors = surface.header["errors"]
    print(f"{surface.header['surface']}: {len(surface)} points of {surface.header['space']}, best val_loss "
          f"{surface.best_values.min():.4f} to {surface.best_values.max():.4f}, spread {errors['spread']}; "
          f"{asked.lookup} errs by {errors[asked.lookup.value]['rms']}, rank correlation "
          f"{errors[asked.lookup.value]['rank_correlation']}; lowest {surface.lowest:.4f}")  # fmt: skip
    print(f"{asked.epochs} epochs of GRPO, {asked.slots} at a time, {asked.seeds} seeds")
    print(*table(surface, found, asked.epochs), sep="\n")
    # How many times the regret of the first arm: higher is better for that one, which a space ships with.
    regret = {arm: float(best_at(one, asked.epochs).mean()) - surface.lowest for arm, one in found.items()}
    first, *others = regret
    name = surface.header["surface"]
    write(
        asked.figures, [Figure("search", f"{name}, {arm} over {first}", regret[arm] / regret[first]) for arm in others]
    )


if __name__ == "__main__":
    main()

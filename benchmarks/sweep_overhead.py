"""What the service costs per trial: many trials of three tiny epochs, against the same training in a loop.

    python -m benchmarks.sweep_overhead [--trials 60]

Both sides train the same configurations on the same data; the loop has neither Ray nor study nor checkpoints. The time
of starting and stopping Ray is left out, trials run one at a time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.figures import Figure, add_option, write
from selector.training import train
from sweep.driver.create import NewRun
from sweep.driver.run import execute
from sweep.execution.ray.options import RayOptions
from sweep.plan.make import make_plan
from sweep.plan.plan import require_data
from sweep.plan.requests import request_of_space
from sweep.runs.paths import SharedPaths
from sweep.storage.local import stored_at

SPACE = """
name: overhead
data: {{demo: {{items: 200, queries: 20}}}}
trial: {{model: {{hidden: 8, heads: 1}}, rce: {{epochs: 1}}, grpo: {{epochs: 2}}}}
parameters: {{grpo.lr: {{type: float, low: 1e-5, high: 1e-3, log: true}}}}
sampler: {{type: random}}
pruner: {{type: none}}
budget: {{trials: {trials}}}
concurrency: 1
keep_epochs: 1
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=60)
    add_option(parser)
    options = parser.parse_args()
    trials = options.trials
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "overhead.yaml"
        file.write_text(SPACE.format(trials=trials))
        plan = require_data(make_plan(request_of_space(str(file), SharedPaths.beside(stored_at(Path(folder))))))
        outcome = execute(plan, NewRun(stored_at(Path(folder))), RayOptions())
    durations = sorted(row.duration for row in outcome.ranked if row.duration is not None)
    started = time.perf_counter()
    for row in outcome.ranked:
        for _ in train(plan.space.resolve(row.params, 0), plan.dataset):
            pass
    loop = (time.perf_counter() - started) / trials
    median = durations[len(durations) // 2]
    print(
        f"{trials} trials: median {median * 1e3:.0f} ms per trial in the sweep (slowest {durations[-1] * 1e3:.0f} ms, "
        f"the first starts an actor), {loop * 1e3:.0f} ms in a loop: overhead {(median - loop) * 1e3:.0f} ms per trial"
    )
    extra = Figure("sweep_overhead", "on top of a trial", (median - loop) * 1e3, "ms", "lower")
    write(options.figures, [Figure("sweep_overhead", "trial, over a loop", median / loop, better="lower"), extra])


if __name__ == "__main__":
    main()

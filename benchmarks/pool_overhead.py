"""What the pool costs per work item: an answerer that needs no time, through Ray and called directly.

    python -m benchmarks.pool_overhead [--items 50000] [--workers 2]

Prompts of a real model take milliseconds to seconds each; what is measured here is what comes on top. The time of
starting workers is left out: they answer once before the clock starts. Items come from a generator, four shots per
query; answers are short texts. The direct call makes the same results in batches in this process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, add_option, write
from sweep.settings.vlm import WorkerSettings
from sweep.vlm.work import Answer, Result, WorkItem

ROUNDS = 5


class Instant:
    """Answers at once."""

    def answer(self, table: object, items: Sequence[WorkItem], score: bool = False) -> list[Result]:
        """One short text per item."""
        return [Answer(f"answer {item.query}", 0.5 if score else None, 900) for item in items]


def items_of(count: int) -> Iterator[WorkItem]:
    """Work items with one to four demonstrations."""
    return (WorkItem(number // 4, tuple(range(1 + number % 4))) for number in range(count))


def direct(count: int, batch: int) -> float:
    """Seconds for all items in this process."""
    answerer, source = Instant(), items_of(count)
    started = time.perf_counter()
    for _ in range(0, count, batch):
        answerer.answer(None, [item for _, item in zip(range(batch), source, strict=False)])
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=2)
    add_option(parser)
    options = parser.parse_args()

    from sweep.execution.ray.options import LOOPBACK_ONLY

    os.environ.update(LOOPBACK_ONLY)  # before anything imports ray
    import ray

    from sweep.vlm.pool.pool import Pool

    ray.init(num_cpus=options.workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(f"{options.items} items, {options.workers} workers, median (lowest, highest) of {ROUNDS} rounds")
    for batch in (16, 64, 256):
        settings = WorkerSettings(count=options.workers, batch=batch)
        pooled, plain = [], []
        with Pool(Instant, None, settings, "benchmark") as pool:
            for _ in pool.run(items_of(20 * batch * options.workers)):
                pass
            for _ in range(ROUNDS):
                started = time.perf_counter()
                done = sum(1 for _ in pool.run(items_of(options.items)))
                pooled.append(done / (time.perf_counter() - started))
                plain.append(options.items / direct(options.items, batch))
        each = Figure("pool_overhead", f"item, batches of {batch}", 1e6 / statistics.median(pooled), "us", "lower")
        write(options.figures, [each])
        print(
            f"batch {batch:>3}: {statistics.median(pooled):,.0f} items/s ({min(pooled):,.0f}, {max(pooled):,.0f}), "
            f"{1e6 / statistics.median(pooled):.0f} us each; direct {1e6 / statistics.median(plain):.1f} us each"
        )
    ray.shutdown()


if __name__ == "__main__":
    main()

"""One Ray instance for the whole session, started when the first test asks for it and stopped by what started it."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import settings

from sweep.execution.ray.options import LOOPBACK_ONLY

os.environ.update(LOOPBACK_ONLY)  # before anything imports ray
os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112 (Ray knows it by this name alone)

RAY_STARTS = 3
TRAINING = ("driver/test_run.py", "driver/test_interruptions.py", "driver/test_full_disk.py", "test_disk_bound.py",
            "test_runs_on_s3.py")  # fmt: skip
"""Files that train on this session's Ray, most of them held against the same run. The others ask models there."""

# Property tests without a number of their own. `make test-long` gives each of them more examples.
settings.register_profile("short", max_examples=40, deadline=None)
settings.register_profile("long", max_examples=200, deadline=None)
settings.load_profile("long" if "SWEEP_LONG" in os.environ else "short")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What another test shows in short waits until it is asked for. What takes long begins first.

    The tests of a file stay together, for what they share. So do those that need this session's Ray, or each of the
    processes that share the work would start one: there are two groups of them, about equally long.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    on_ray = {item.path for item in items if "ray_session" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path not in slow, item.path not in on_ray))
    for item in items:
        group = str(item.path)
        if item.path in on_ray:
            group = "training on Ray" if group.endswith(TRAINING) else "models on Ray"
        item.add_marker(pytest.mark.xdist_group(group))
    if "SWEEP_LONG" not in os.environ:
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="make test-long"))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Goldens and bit-for-bit comparisons need a fixed number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Every test draws the same numbers, whichever tests ran before it in its process."""
    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    from sweep.execution.ray.cluster import ENVIRONMENT
    from sweep.execution.ray.start import lean_ray

    os.environ.update(ENVIRONMENT)
    import ray

    for left in reversed(range(RAY_STARTS)):
        try:
            with lean_ray(dashboard=False):
                ray.init(
                    num_cpus=2,
                    object_store_memory=128 * 1024**2,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
            break
        except Exception:  # Ray raises nothing narrower when it gives up on a busy machine
            ray.shutdown()
            if not left:
                raise
    yield
    ray.shutdown()

"""One Ray instance for the whole session, started when the first test asks for it and stopped by what started it."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from sweep.execution.ray.options import LOOPBACK_ONLY

os.environ.update(LOOPBACK_ONLY)  # before anything imports ray
os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112 (Ray knows it by this name alone)

RAY_STARTS = 3
TRAINING, MODELS = "training on Ray", "models on Ray"
ON_RAY = {
    "tests/sweep/driver/test_run.py": TRAINING,
    "tests/sweep/driver/test_interruptions.py": TRAINING,
    "tests/sweep/driver/test_full_disk.py": TRAINING,
    "tests/sweep/execution/ray/test_nodes.py": TRAINING,
    "tests/sweep/execution/ray/test_home.py": TRAINING,
    "tests/sweep/execution/ray/test_several_nodes.py": MODELS,
    "tests/sweep/execution/test_disk_bound.py": TRAINING,
    "tests/sweep/storage/test_runs_on_s3.py": TRAINING,
    "tests/sweep/cli/test_submit.py": TRAINING,
    "tests/sweep/driver/test_evaluation.py": MODELS,
    "tests/sweep/api/test_api.py": MODELS,
    "tests/sweep/embed/test_plan.py": MODELS,
    "tests/sweep/vlm/answers/test_cached.py": MODELS,
    "tests/sweep/vlm/pool/test_pool.py": MODELS,
    "tests/sweep/vlm/pool/test_workers.py": MODELS,
    "tests/test_own_data.py": MODELS,
}
"""Files that need this session's Ray, in two groups of about the same length. Those of a group share one Ray."""

# Property tests without a number of their own. `make test-long` gives each of them more examples.
settings.register_profile("short", max_examples=40, deadline=None)
settings.register_profile("long", max_examples=200, deadline=None)
settings.load_profile("long" if "SWEEP_LONG" in os.environ else "short")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Tests of a file stay in one process, for what they share, and so do the files of a group."""

    class Grouped(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return ON_RAY.get(file, file)

    return Grouped(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What another test shows in short waits until it is asked for. What takes long begins first."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, _file(item) not in ON_RAY))
    for item in items:
        if "ray_session" in getattr(item, "fixturenames", ()) and _file(item) not in ON_RAY:
            raise pytest.UsageError(f"{_file(item)} needs this session's Ray: name it in ON_RAY of tests/conftest.py")
        if "SWEEP_LONG" not in os.environ and item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="make test-long"))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Goldens and bit-for-bit comparisons need a fixed number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Every test computes the same numbers, whichever tests ran before it in its process."""
    torch.set_flush_denormal(False)  # what a worker sets for its whole process
    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    from sweep.execution.ray.cluster import ENVIRONMENT
    from sweep.execution.ray.preparation import lean_ray

    os.environ.update(ENVIRONMENT)
    import ray

    for left in reversed(range(RAY_STARTS)):
        try:
            with lean_ray():
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

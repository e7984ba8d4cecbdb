"""How many trials run at a time."""

from __future__ import annotations

import pytest
import yaml

from sweep.errors import ClusterError
from sweep.execution.backend import Backend
from sweep.execution.ray.cluster import Cluster
from sweep.execution.ray.fit import RayBackend
from sweep.space import SearchSpace, parse_space
from sweep.space.model import Resources
from tests.sweep.spaces import SMALL


def space_of(cpus: float, gpus: float = 0.0, concurrency: int | None = None) -> SearchSpace:
    changes = {"resources": {"cpus": cpus, "gpus": gpus}, "concurrency": concurrency}
    return parse_space(yaml.safe_dump({**yaml.safe_load(SMALL), **changes}), "space.yaml")


@pytest.mark.parametrize(
    ("cpus", "gpus", "space", "expected"),
    [
        (4.0, 0.0, space_of(1), 4),
        (4.0, 0.0, space_of(1, concurrency=3), 3),
        (4.0, 0.0, space_of(1, concurrency=9), 4),
        (4.0, 0.0, space_of(3), 1),
        (0.3, 0.0, space_of(0.1), 3),  # 0.3 / 0.1 is a little less than 3
        (16.0, 2.0, space_of(1, gpus=1), 2),
        (16.0, 2.0, space_of(1, gpus=0.25), 8),
        (4.0, 2.0, space_of(1, gpus=0.25), 4),
    ],
)
def test_as_many_as_wanted_but_no_more_than_fit(cpus: float, gpus: float, space: SearchSpace, expected: int) -> None:
    backend: Backend = RayBackend(Cluster(cpus, gpus, None, None, token=False), space.resources)
    assert backend.concurrency(space) == expected


@pytest.mark.parametrize(("cpus", "gpus"), [(1.0, 1.0), (4.0, 0.0)])
def test_not_even_one_fits(cpus: float, gpus: float) -> None:
    backend = RayBackend(Cluster(cpus, gpus, None, None, token=False), Resources())
    with pytest.raises(ClusterError, match=f"asks for 2 CPUs and 1 GPUs, the cluster has {cpus:g} and {gpus:g}"):
        backend.concurrency(space_of(2, gpus=1))

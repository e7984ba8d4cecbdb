"""How many trials run at a time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from sweep.errors import ClusterError
from sweep.execution.backend import Backend
from sweep.execution.ray import fit
from sweep.execution.ray.cluster import Cluster
from sweep.execution.ray.fit import RayBackend, give_up, nothing_handed_over
from sweep.execution.ray.guard import RayLost
from sweep.execution.ray.nodes import Nodes
from sweep.runs.paths import RunPaths
from sweep.space import SearchSpace, parse_space
from sweep.storage.local import stored_at
from sweep.vlm.pool.nodes import Node
from tests.sweep.execution.ray.made_nodes import node
from tests.sweep.spaces import SMALL


def space_of(cpus: float, gpus: float = 0.0, concurrency: int | None = None) -> SearchSpace:
    changes = {"resources": {"cpus": cpus, "gpus": gpus}, "concurrency": concurrency}
    return parse_space(yaml.safe_dump({**yaml.safe_load(SMALL), **changes}), "space.yaml")


def backend_of(space: SearchSpace, *nodes: Node) -> RayBackend:
    found = Nodes(space.resources, look=lambda: list(nodes))
    return RayBackend(Cluster(1.0, 0.0, None, None, token=False), found)


def test_a_trial_fits_one_node_and_not_the_cluster_as_a_whole() -> None:
    space = space_of(2)
    backend = backend_of(space, node("a", 3), node("b", 3))
    assert backend.concurrency(space) == 2, "3 on the whole, of which one would never be placed"


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
    backend: Backend = backend_of(space, node("a", cpus, gpus))
    assert backend.concurrency(space) == expected


@pytest.mark.parametrize(("cpus", "gpus"), [(1.0, 1.0), (4.0, 0.0)])
def test_not_even_one_fits(cpus: float, gpus: float) -> None:
    space = space_of(2, gpus=1)
    backend = backend_of(space, node("a", cpus, gpus))
    told = f"a trial asks for 2 CPUs and 1 GPUs, the largest node of the cluster has {cpus:g} and {gpus:g}"
    with pytest.raises(ClusterError, match=told):
        backend.concurrency(space)


@pytest.mark.parametrize("started_here", [True, False])
def test_tune_hands_variables_only_to_workers_that_do_not_inherit_them(
    started_here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it hands over is in clear in Ray's logs, and a worker that was started ahead has none of its own."""
    from ray.tune.execution.class_cache import _ActorClassCache

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")

    def handed_over() -> Any:
        actor = _ActorClassCache().get(type("Worker", (), {}))
        return actor._default_options["runtime_env"].get("env_vars", {})

    before = handed_over()
    assert before["AWS_SECRET_ACCESS_KEY"] == "very secret"
    with nothing_handed_over(started_here):
        assert handed_over() == ({} if started_here else before)
    assert handed_over() == before, "afterwards Tune is as it was"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RayLost("Ray is gone: its raylet has died"), "Ray is gone: its raylet has died"),
        (Exception("bare\nand long"), "Ray Tune failed: Exception: bare"),
        (AssertionError(), "Ray Tune failed: AssertionError"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_whatever_ray_tune_raises_stands_in_the_coordinator(
    raised: BaseException, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __init__(self, *arguments: object, **options: object) -> None: ...

        def fit(self) -> None:
            raise raised

    monkeypatch.setattr("ray.tune.Tuner", Failing)
    monkeypatch.setattr(fit, "_trainable", lambda *arguments: None)
    coordinator: Any = SimpleNamespace(error=None, interrupted=False, ended=lambda: None)
    space = space_of(1)
    backend = RayBackend(Cluster(1, 0, None, None, token=False), space.resources)
    backend.run(coordinator, SimpleNamespace(), RunPaths(stored_at(tmp_path / "mine")), SimpleNamespace())  # type: ignore[arg-type]
    assert said in str(coordinator.error)


class Stopped:
    """What is read of a coordinator."""

    def __init__(self, interrupted: bool) -> None:
        self.interrupted = interrupted
        self.error: Exception | None = None


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_tune_raises_after_an_interrupt_is_no_failure(interrupted: bool) -> None:
    """As where `ray job stop` has removed the folder that Tune works in."""
    coordinator = Stopped(interrupted)
    give_up(coordinator, FileNotFoundError(2, "No such file or directory"))  # type: ignore[arg-type]
    assert (coordinator.error is None) is interrupted

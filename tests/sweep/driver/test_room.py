"""What a run needs of a cluster is known before it does anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweep.driver.room import check_room
from sweep.errors import ClusterError
from sweep.plan.plan import Plan
from sweep.runs.paths import RunPaths
from sweep.vlm.pool.nodes import Node
from tests.sweep.execution.ray.made_nodes import node
from tests.sweep.plans import plan_of_run

CPU, GPU = node("1", 4, labels={"pool": "cpu"}), node("2", 1, 1, labels={"pool": "gpu"})


@pytest.fixture(scope="module")
def plan(finished: RunPaths) -> Plan:
    """Trials on the first node, the model on the second one."""
    plan = plan_of_run(finished)
    space = plan.space
    assert space.vlm is not None
    workers = space.vlm.workers.replace(gpus=0.5, labels={"pool": "gpu"})
    space = space.replace(
        resources=space.resources.replace(cpus=2, labels={"pool": "cpu"}), vlm=space.vlm.replace(workers=workers)
    )
    return replace(plan, request=replace(plan.request, space=space))


def test_each_kind_of_worker_has_its_nodes(plan: Plan) -> None:
    check_room(plan, lambda: [CPU, GPU])


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([GPU], r"resources\.labels asks for \(pool=cpu\): node 10\.0\.0\.2 has pool=gpu"),
        ([CPU], r"vlm\.workers\.labels asks for \(pool=gpu\): node 10\.0\.0\.1 has pool=cpu"),
        (
            [node("1", 1, labels={"pool": "cpu"}), GPU],
            "a trial asks for 2 CPUs and 0 GPUs, the largest node .* 1 and 0",
        ),
        (
            [CPU, node("2", 8, labels={"pool": "gpu"})],
            "a worker of the vision-language model asks for 1 CPUs and 0.5 GPUs",
        ),
    ],
)
def test_what_would_never_be_placed_is_told(plan: Plan, nodes: list[Node], told: str) -> None:
    with pytest.raises(ClusterError, match=told):
        check_room(plan, lambda: nodes)


def test_a_model_that_is_not_asked_needs_no_room(plan: Plan) -> None:
    check_room(replace(plan, evaluation=None), lambda: [CPU])

"""Whether a cluster has room for every kind of worker that a run will need, before it does anything."""

from __future__ import annotations

from collections.abc import Callable

from sweep.execution.ray.nodes import Nodes
from sweep.plan.plan import AnyPlan, EmbeddingPlan, Plan
from sweep.settings.vlm import WorkerSettings
from sweep.vlm.pool.nodes import Node, living_nodes
from sweep.vlm.pool.pool import cluster_capacity


def check_room(plan: AnyPlan, look: Callable[[], list[Node]] = living_nodes) -> None:
    """Hold a plan against the CPUs, GPUs and labels of the nodes. `look` gives those of the connected cluster.

    Raises:
        ClusterError: a trial, or a worker of a model, would never be placed; it says what there is.
    """
    Nodes(plan.space.resources, look=look).room()
    for settings in _workers_of(plan):
        cluster_capacity(settings, look=look)


def _workers_of(plan: AnyPlan) -> list[WorkerSettings]:
    embeds = [plan.settings.workers] if isinstance(plan, EmbeddingPlan) else []
    asks = plan.evaluation is not None if isinstance(plan, Plan) else True
    return [*embeds, *([plan.space.vlm.workers] if asks and plan.space.vlm is not None else [])]

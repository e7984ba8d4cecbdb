"""Whether a cluster has room for every kind of worker that a run will need, before it does anything."""

from __future__ import annotations

from sweep.execution.ray.nodes import Nodes
from sweep.plan.plan import AnyPlan, EmbeddingPlan, Plan
from sweep.settings.vlm import WorkerSettings
from sweep.vlm.pool.pool import cluster_capacity


def check_room(plan: AnyPlan) -> None:
    """Look at the nodes of the connected cluster: their CPUs, GPUs and labels.

    Raises:
        ClusterError: a trial, or a worker of a model, would never be placed; it says what there is.
    """
    Nodes(plan.space.resources).room()
    for settings in _workers_of(plan):
        cluster_capacity(settings)


def _workers_of(plan: AnyPlan) -> list[WorkerSettings]:
    embeds = [plan.settings.workers] if isinstance(plan, EmbeddingPlan) else []
    asks = plan.evaluation is not None if isinstance(plan, Plan) else True
    return [*embeds, *([plan.space.vlm.workers] if asks and plan.space.vlm is not None else [])]

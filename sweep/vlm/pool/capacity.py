"""How many workers fit a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sweep.errors import ClusterError
from sweep.settings.vlm import WorkerSettings

ROUNDING = 1e-6


def capacity_of(nodes: Iterable[Mapping[str, float]], cpus: float, gpus: float) -> int:
    """Workers that fit on the nodes together, each node given by its resources (`CPU`, `GPU`).

    A fraction of a GPU is a fraction of one GPU: two workers with 0.4 share one, and three do not fit.
    """
    return sum(_on_node(node, cpus, gpus) for node in nodes)


def _on_node(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    by_cpu = int(node.get("CPU", 0.0) / cpus + ROUNDING)
    if not gpus:
        return by_cpu
    of_node = node.get("GPU", 0.0)
    by_gpu = int(1 / gpus + ROUNDING) * int(of_node) if gpus < 1 else int(of_node / gpus + ROUNDING)
    return min(by_cpu, by_gpu)


def worker_count(settings: WorkerSettings, nodes: Iterable[Mapping[str, float]]) -> int:
    """What the settings ask for, but no more than fit.

    Raises:
        ClusterError: not even one fits.
    """
    nodes = list(nodes)
    capacity = capacity_of(nodes, settings.cpus, settings.gpus)
    if capacity < 1:
        who, whose = f"a worker of {settings.holds}", "cpus and gpus of its workers"
        raise no_room(who, settings.cpus, settings.gpus, nodes, whose)
    return min(settings.count or capacity, capacity)


def no_room(who: str, cpus: float, gpus: float, nodes: Iterable[Mapping[str, float]], whose: str) -> ClusterError:
    """The error for a worker that fits no node.

    Args:
        who: asks for `cpus` and `gpus`.
        cpus: cores.
        gpus: of one worker.
        nodes: their resources.
        whose: what to lower, in the words of a space.
    """
    found = list(nodes)
    has_cpus = max((node.get("CPU", 0.0) for node in found), default=0.0)
    has_gpus = max((node.get("GPU", 0.0) for node in found), default=0.0)
    return ClusterError(
        f"{who} asks for {cpus:g} CPUs and {gpus:g} GPUs, the largest node of the cluster has {has_cpus:g} and "
        f"{has_gpus:g}: lower {whose}, or join a larger cluster with --address"
    )

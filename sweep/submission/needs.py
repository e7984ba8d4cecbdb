"""What a space asks of a cluster, held against what the cluster has. Said before anything is handed in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import metadata

from sweep.errors import ClusterError
from sweep.plan.machine import wanted
from sweep.space import SearchSpace
from sweep.submission.package import DISTRIBUTION
from sweep.vlm.pool.capacity import capacity_of, no_room
from sweep.vlm.pool.nodes import Node, check_labels, usable_nodes

_NUMBERS = re.compile(r"(\d+)\.(\d+)")


def lacking_on(space: SearchSpace, nodes: Sequence[Node]) -> Iterator[str]:
    """One sentence for each kind of worker that no node has room for. A run would end for the same reason."""
    for one in wanted(space):
        try:
            check_labels(nodes, one.labels, f"{one.section}.labels")
        except ClusterError as error:
            yield str(error)
            continue
        usable = [node.resources for node in usable_nodes(nodes, one.labels)]
        if not capacity_of(usable, one.cpus, one.gpus):
            yield str(no_room(one.who, one.cpus, one.gpus, usable, f"`{one.section}` in the space"))


def describe(nodes: Sequence[Node]) -> str:
    """The nodes in a few words."""
    cpus, gpus = (sum(node.resources.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    return f"{len(nodes)} node{'' if len(nodes) == 1 else 's'} with {cpus:g} CPUs and {gpus:g} GPUs"


def too_old(ray_version: str) -> str | None:
    """What is wrong with the cluster's Ray, if something is."""
    line = next((one for one in metadata.requires(DISTRIBUTION) or [] if re.match(r"ray\W", one)), "")
    least = re.search(r">=\s*(\d+)\.(\d+)", line)
    found = _NUMBERS.match(ray_version)
    if least and found and tuple(map(int, found.groups())) < tuple(map(int, least.groups())):
        return f"the cluster runs Ray {ray_version}, and this program needs {'.'.join(least.groups())} or newer there"
    return None

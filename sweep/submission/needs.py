"""What a space asks of a cluster, held against what the cluster has. Said before anything is handed in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import metadata

from sweep.execution.ray.jobs import Node
from sweep.plan.machine import wanted
from sweep.space import SearchSpace
from sweep.submission.package import DISTRIBUTION

_NUMBERS = re.compile(r"(\d+)\.(\d+)")


def lacking_on(space: SearchSpace, nodes: Sequence[Node]) -> Iterator[str]:
    """One sentence for each kind of worker that no node has room for."""
    for one in wanted(space):
        if not any(one.fits(node.cpus, node.gpus) for node in nodes):
            yield f"{one}, and no node has that: {describe(nodes)}"


def describe(nodes: Sequence[Node]) -> str:
    """The nodes in a few words."""
    if not nodes:
        return "the cluster has no node"
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    count = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"
    total = f"{count} with {cpus:g} CPUs and {gpus:g} GPUs"
    if len(nodes) == 1:
        return total
    most = max(nodes, key=lambda node: (node.gpus, node.cpus))
    return f"{total}, the largest {most.cpus:g} CPUs and {most.gpus:g} GPUs"


def too_old(ray_version: str) -> str | None:
    """What is wrong with the cluster's Ray, if something is."""
    line = next((one for one in metadata.requires(DISTRIBUTION) or [] if re.match(r"ray\W", one)), "")
    least = re.search(r">=\s*(\d+)\.(\d+)", line)
    found = _NUMBERS.match(ray_version)
    if least and found and tuple(map(int, found.groups())) < tuple(map(int, least.groups())):
        return f"the cluster runs Ray {ray_version}, and this program needs {'.'.join(least.groups())} or newer there"
    return None

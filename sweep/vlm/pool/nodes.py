"""The nodes of the connected cluster, as far as workers are placed on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sweep.errors import ClusterError
from sweep.settings.labels import NODE_ID, fits, shown

NAMED = 5
"""Nodes that a message names."""


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        identity: new whenever the node is started.
        resources: all that it has, `CPU` and `GPU` among them.
        leaving: it was announced that the node will be gone soon. Ray places nothing there any more.
    """

    identity: str
    address: str
    host: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]
    leaving: bool = False

    def __str__(self) -> str:
        return f"node {self.address}" if self.host == self.address else f"node {self.address} ({self.host})"


def living_nodes() -> list[Node]:
    """All nodes that are alive. Takes about a millisecond. No clock is compared: Ray's deadlines are not looked at."""
    import ray
    from ray._private.state import state  # the public state API needs a dashboard

    leaving = state.get_draining_nodes()
    return [
        Node(
            identity=str(node["NodeID"]),
            address=str(node["NodeManagerAddress"]),
            host=str(node["NodeManagerHostname"]),
            resources=node["Resources"],
            labels=node["Labels"],
            leaving=str(node["NodeID"]) in leaving,
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def usable_nodes(nodes: Iterable[Node], labels: Mapping[str, str], left_out: Collection[str] = ()) -> list[Node]:
    """Those that stay, have the labels, and are not left out."""
    return [node for node in nodes if not node.leaving and node.identity not in left_out and fits(labels, node.labels)]


def selector_of(labels: Mapping[str, str], left_out: Collection[str]) -> dict[str, str]:
    """Ray's label selector for the nodes with these labels, but not those that are left out, by their ids."""
    return {**labels, **({NODE_ID: f"!in({','.join(left_out)})"} if left_out else {})}


def check_labels(nodes: Iterable[Node], labels: Mapping[str, str], section: str) -> None:
    """Raise ClusterError, with the labels that there are, if no node has those that a space asks for in `section`."""
    found = list(nodes)
    if not labels or any(fits(labels, node.labels) for node in found):
        return
    there = "; ".join(f"{node} has {shown(node.labels)}" for node in found[:NAMED])
    more = f"; and {len(found) - NAMED} more nodes" if len(found) > NAMED else ""
    raise ClusterError(
        f"no node of the cluster has the labels that {section} asks for ({shown(labels)}): {there}{more}; start a node "
        f"with `ray start --labels`, or have the command say `--set {section}={{}}`"
    )

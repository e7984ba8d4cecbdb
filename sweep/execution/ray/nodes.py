"""The nodes of a cluster: their names, and which of them a run leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweep.space.model import Resources

NODE_LABEL = "ray.io/node-id"  # every node has it


class Nodes:
    """As `Places`. A place is a node's id, or its address where no more is known.

    A node has a new id when it is started again, and with it a new chance.
    """

    def __init__(self, resources: Resources) -> None:
        """`resources`: of one trial."""
        self._resources = resources
        self._left_out: list[str] = []

    def name(self, place: str) -> str:
        """Address and host name. Where there is no other node, it is simply this machine."""
        nodes = _alive()
        if len(nodes) == 1:
            return "this machine"
        return next((_name(node) for node in nodes if place in _identities(node)), "a node that is gone")

    def leave_out(self, place: str, reason: str) -> bool:
        """False if none of the other nodes has room for a trial, or if nobody knows which node is meant."""
        if not place:
            return False
        meant = {node["NodeID"] for node in _alive() if place in _identities(node)}
        self._left_out += sorted(meant.difference(self._left_out))
        wanted = self._resources
        return any(
            node["Resources"].get("CPU", 0.0) >= wanted.cpus and node["Resources"].get("GPU", 0.0) >= wanted.gpus
            for node in _alive()
            if node["NodeID"] not in self._left_out
        )

    @property
    def left_out(self) -> Sequence[str]:
        """Their ids."""
        return tuple(self._left_out)


def avoiding(left_out: Sequence[str]) -> dict[str, str]:
    """The label selector of Ray for all nodes but these."""
    return {NODE_LABEL: f"!in({','.join(left_out)})"} if left_out else {}


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _identities(node: dict[str, Any]) -> tuple[str, str]:
    return str(node["NodeID"]), str(node["NodeManagerAddress"])


def _name(node: dict[str, Any]) -> str:
    host, address = str(node["NodeManagerHostname"]), str(node["NodeManagerAddress"])
    return f"node {address}" if host == address else f"node {address} ({host})"

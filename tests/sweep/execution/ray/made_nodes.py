"""Nodes without a cluster, and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Mapping

from sweep.vlm.pool.nodes import Node


def node(
    name: str, cpus: float = 1.0, gpus: float = 0.0, labels: Mapping[str, str] | None = None, leaving: bool = False
) -> Node:
    return Node(name, f"10.0.0.{name}", f"10.0.0.{name}", {"CPU": cpus, "GPU": gpus}, labels or {}, leaving)


class Hand:
    """A clock. `seconds` is what it shows."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

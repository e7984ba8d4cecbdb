"""The nodes of a cluster as far as trials go: their names, which of them have room, and which a run leaves out.

Nodes come and go while a run goes on, so they are looked at again and again. Durations are those of this process's
monotonic clock. No clock of another machine is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sweep.space.model import Resources
from sweep.vlm.pool.capacity import capacity_of, no_room
from sweep.vlm.pool.nodes import Node, check_labels, living_nodes, usable_nodes

SECONDS_BETWEEN_LOOKS = 1.0
PATIENCE = 300.0
"""Seconds without any node that has room for a trial, until the run stops. The VLM's pool waits as long."""


class Beside(Protocol):
    """What a run does on the cluster beside its trials."""

    def held(self) -> Mapping[str, tuple[float, float]]:
        """CPUs and GPUs that it holds, by the id of their node."""

    def give_way(self, reason: str) -> None:
        """Hold nothing any more."""


class Nodes:
    """As `Places`. A place is a node's id, or its address where no more is known.

    A node has a new id when it is started again, and with it a new chance.
    """

    def __init__(
        self,
        resources: Resources,
        beside: Beside | None = None,
        look: Callable[[], list[Node]] = living_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at no node yet.

        Args:
            resources: of one trial.
            beside: has the rest of its nodes to the trials. It gives way where none of them would have room.
            look: gives the nodes that are alive.
            clock: seconds that never go back.
        """
        self._resources = resources
        self._beside = beside
        self._look = look
        self._clock = clock
        self._nodes: list[Node] = []
        self._looked: float | None = None
        self._had_room: float | None = None
        self._left_out: list[str] = []
        self._announced: set[str] = set()

    def name(self, place: str) -> str:
        """Address and host name. Where there is no other node, it is simply this machine."""
        nodes = self._now()
        if len(nodes) == 1:
            return "this machine"
        return next((str(node) for node in nodes if _is(node, place)), "a node that is gone")

    def leave_out(self, place: str, reason: str) -> bool:
        """False if none of the other nodes has room for a trial, or if nobody knows which node is meant."""
        if not place:
            return False
        meant = {node.identity for node in self._now() if _is(node, place)}
        self._left_out += sorted(meant.difference(self._left_out))
        return self._fitting() > 0

    def leaving(self, place: str) -> bool:
        """Whether it was announced that a node will soon be gone, or is gone after that."""
        nodes = self._now()
        return place in self._announced or any(node.leaving for node in nodes if _is(node, place))

    def may_move(self, place: str) -> bool:
        """Whether a node is leaving and another one has room for its trials."""
        return self.leaving(place) and self._fitting() > 0

    def room(self) -> int:
        """Trials that fit the nodes at the moment, however many run. 0 while the nodes that had room are gone.

        Raises:
            ClusterError: there never was room for one, or none for `PATIENCE` seconds in which no trial went on either.
        """
        fitting = self._fitting()
        if not fitting and self._beside is not None and self._beside.held() and self._capacity({}):
            self._beside.give_way("no trial would have room beside the model's workers")
            fitting = self._fitting()
        if fitting:
            self._had_room = self._clock()
            return fitting
        if self._had_room is not None and self._clock() - self._had_room <= PATIENCE:
            return 0
        wanted = self._resources
        check_labels(self._now(), wanted.labels, "resources.labels")
        usable = [node.resources for node in usable_nodes(self._now(), wanted.labels)]
        raise no_room("a trial", wanted.cpus, wanted.gpus, usable, "`resources` in the space")

    def trains(self) -> None:
        """A trial did an epoch, so it has its room, though nothing new may be placed there."""
        self._had_room = self._clock()

    def _fitting(self) -> int:
        return self._capacity({} if self._beside is None else self._beside.held())

    def _capacity(self, held: Mapping[str, tuple[float, float]]) -> int:
        wanted = self._resources
        usable = [node for node in usable_nodes(self._now(), wanted.labels) if node.identity not in self._left_out]
        return capacity_of((_free(node, held) for node in usable), wanted.cpus, wanted.gpus)

    @property
    def avoided(self) -> Sequence[str]:
        """Ids of the nodes that are alive and get no more trials."""
        return tuple(node.identity for node in self._now() if node.leaving or node.identity in self._left_out)

    def _now(self) -> list[Node]:
        now = self._clock()
        if self._looked is None or now - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._nodes, self._looked = self._look(), now
            self._announced.update(node.identity for node in self._nodes if node.leaving)
        return self._nodes


def _free(node: Node, held: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    cpus, gpus = held.get(node.identity, (0.0, 0.0))
    return {"CPU": node.resources.get("CPU", 0.0) - cpus, "GPU": node.resources.get("GPU", 0.0) - gpus}


def _is(node: Node, place: str) -> bool:
    return place in (node.identity, node.address)

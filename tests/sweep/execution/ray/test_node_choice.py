"""Which nodes a run uses, as nodes come, announce that they leave, and go. Without a cluster, by a clock of its own."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sweep.errors import ClusterError
from sweep.execution.ray.nodes import PATIENCE, Nodes
from sweep.settings.labels import NODE_ID, fits
from sweep.settings.vlm import WorkerSettings
from sweep.space import Resources
from sweep.vlm.pool.nodes import Node, check_labels, selector_of
from tests.sweep.execution.ray.made_nodes import Hand, node


class Model:
    """Holds a core of node 1 beside the trials, until it gives way."""

    there = True

    def held(self) -> dict[str, tuple[float, float]]:
        return {"1": (1.0, 0.0)} if self.there else {}

    def give_way(self, reason: str) -> None:
        self.there = False


class Cluster:
    """Nodes of a cluster that a test changes, and what a run makes of them a while later."""

    def __init__(self, resources: Resources, *there: Node, beside: Model | None = None) -> None:
        self.there = list(there)
        self.clock = Hand()
        self.nodes = Nodes(resources, beside, look=lambda: list(self.there), clock=self.clock)

    def becomes(self, *there: Node, after: float = 10.0) -> Nodes:
        self.there = list(there)
        self.clock.seconds += after
        return self.nodes


@pytest.mark.parametrize(
    ("wanted", "has", "expected"),
    [
        ("large", "large", True),
        ("large", "small", False),
        ("large", None, False),
        ("!large", "small", True),
        ("!large", "large", False),
        ("!large", None, True),
        ("in(large, huge)", "huge", True),
        ("in(large,huge)", "small", False),
        ("in(large,huge)", None, False),
        ("!in(large, huge)", "huge", False),
        ("!in(large, huge)", None, True),
    ],
)
def test_labels_that_a_node_has_or_lacks(wanted: str, has: str | None, expected: bool) -> None:
    assert fits({"size": wanted}, {} if has is None else {"size": has}) is expected


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({NODE_ID: "abc"}, "changes with every start"),
        ({"a b": "x"}, "no name of a label"),
        ({"size": ""}, "asks for nothing"),
        ({"size": "in()"}, "asks for nothing"),
        ({"size": "-large"}, "asks for nothing"),
        ({"size": True}, "valid string"),
    ],
)
def test_labels_that_no_node_can_have_are_refused(labels: dict[str, str], told: str) -> None:
    for settings in (Resources, WorkerSettings):
        with pytest.raises(ValidationError, match=told):
            settings.model_validate({"labels": labels})


def test_trials_go_to_nodes_with_all_labels_and_room() -> None:
    wanted = Resources(cpus=2, labels={"pool": "cpu", "ray.io/market-type": "!spot"})
    cluster = Cluster(
        wanted,
        node("1", 8, labels={"pool": "cpu"}),
        node("2", 5, labels={"pool": "cpu", "ray.io/market-type": "spot"}),
        node("3", 64, labels={"pool": "gpu"}),
    )
    assert cluster.nodes.room() == 4


def test_no_node_with_the_labels_is_told_with_what_there_is() -> None:
    cluster = Cluster(Resources(labels={"pool": "cpu"}), node("1", labels={"pool": "gpu"}), node("2"))
    with pytest.raises(ClusterError) as told:
        cluster.nodes.room()
    line = str(told.value)
    assert "resources.labels asks for (pool=cpu)" in line and "--set resources.labels={}" in line
    assert "node 10.0.0.1 has pool=gpu; node 10.0.0.2 has none" in line
    with pytest.raises(ClusterError, match=r"vlm\.workers\.labels asks for"):
        check_labels(cluster.there, {"pool": "cpu"}, "vlm.workers.labels")


def test_a_node_that_joins_makes_room_and_one_that_goes_takes_it() -> None:
    cluster = Cluster(Resources(), node("1", 2))
    assert cluster.nodes.room() == 2
    assert cluster.becomes(node("1", 2), node("2", 4)).room() == 6
    assert cluster.becomes(node("2", 4)).room() == 4


def test_nodes_are_not_looked_at_all_the_time() -> None:
    cluster = Cluster(Resources(), node("1", 2))
    assert cluster.nodes.room() == 2
    assert cluster.becomes(node("1", 2), node("2", 4), after=0.5).room() == 2
    assert cluster.becomes(node("1", 2), node("2", 4), after=0.6).room() == 6


def test_a_leaving_node_gets_nothing_new_and_is_remembered_when_it_is_gone() -> None:
    cluster = Cluster(Resources(), node("1", 2), node("2", 2))
    assert not cluster.nodes.leaving("2") and not cluster.nodes.may_move("2")
    nodes = cluster.becomes(node("1", 2), node("2", 2, leaving=True))
    assert nodes.room() == 2 and nodes.may_move("2") and list(nodes.avoided) == ["2"]
    nodes = cluster.becomes(node("1", 2))
    assert nodes.leaving("2") and not nodes.leaving("1") and list(nodes.avoided) == []


def test_where_all_nodes_are_leaving_trials_stay() -> None:
    nodes = Cluster(Resources(), node("1", 2, leaving=True)).nodes
    assert nodes.leaving("1") and not nodes.may_move("1")


def test_what_goes_on_beside_the_trials_gives_way_where_they_would_have_no_room() -> None:
    model = Model()
    cluster = Cluster(Resources(), node("1"), node("2"), beside=model)
    assert cluster.nodes.room() == 1 and model.there
    assert cluster.becomes().room() == 0 and model.there, "it would not help"
    assert cluster.becomes(node("1")).room() == 1 and not model.there


def test_a_trial_that_goes_on_where_nothing_new_may_start_is_left_alone() -> None:
    cluster = Cluster(Resources(), node("1", 2))
    assert cluster.nodes.room() == 2
    for _ in range(5):
        nodes = cluster.becomes(node("1", 2, leaving=True), after=PATIENCE - 1)
        assert nodes.room() == 0
        nodes.trains()


def test_the_run_waits_for_a_node_to_come_back_but_not_for_ever() -> None:
    cluster = Cluster(Resources(labels={"pool": "cpu"}), node("1", labels={"pool": "cpu"}), node("2"))
    assert cluster.nodes.room() == 1
    assert cluster.becomes(node("2")).room() == 0
    assert cluster.becomes(node("2"), after=PATIENCE - 20).room() == 0
    assert cluster.becomes(node("2"), node("3", labels={"pool": "cpu"})).room() == 1
    assert cluster.becomes(node("2")).room() == 0
    with pytest.raises(ClusterError, match=r"resources\.labels asks for"):
        cluster.becomes(node("2"), after=PATIENCE + 1).room()


def test_what_is_left_out_and_the_spaces_labels_go_to_ray_together() -> None:
    wanted = Resources(labels={"pool": "in(cpu, large)"})
    assert selector_of({}, []) == {} and selector_of({}, ["a"]) == {NODE_ID: "!in(a)"}
    assert selector_of(wanted.labels, []) == {"pool": "in(cpu, large)"}
    assert selector_of(wanted.labels, ["a", "b"]) == {"pool": "in(cpu, large)", NODE_ID: "!in(a,b)"}

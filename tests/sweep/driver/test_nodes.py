"""What a driver makes of what nodes say of themselves, without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.driver.nodes import AUTO_BYTES, fitted
from sweep.driver.session import LeftOut
from sweep.errors import ClusterError
from sweep.execution.ray.fitness import NodeFitness
from sweep.execution.ray.node_report import NodeQuestion
from sweep.items import ItemTable
from sweep.items.sent import pack
from sweep.plan.collection import plan_collection
from sweep.plan.plan import CollectionPlan
from sweep.plan.requests import request_of_space
from sweep.runs.paths import SharedPaths
from sweep.storage.local import stored_at
from sweep.storage.open import open_folder
from sweep.storage.path import StoredPath

SPACE = """
name: asking
items:
  demo: {{demonstrations: 200, train: 40, val: 16, test: 8, concepts: 16, smallest_pool: 16, largest_pool: 16}}{send}
vlm: {{model: {{path: demo}}, workers: {{cpus: 2}}}}
collect: {{beams: {{similarity: 1, random: 1}}}}
"""
HERE = NodeFitness("1", "node 10.0.0.1", {"CPU": 4.0}, here=True)
FAR = NodeFitness("2", "node 10.0.0.2", {"CPU": 4.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("asking")


class Fitting:
    """What was asked, said and sent while a plan was fitted to some nodes."""

    def __init__(self, folder: Path, *nodes: NodeFitness, send: str = "", run: StoredPath | None = None) -> None:
        file = folder / "space.yaml"
        file.write_text(SPACE.format(send=send and f"\n  send: {send}"))
        self.plan = plan_collection(request_of_space(str(file), SharedPaths.beside(stored_at(folder / "runs"))))
        assert isinstance(self.plan, CollectionPlan)
        self.nodes = list(nodes)
        self.said: list[str] = []
        self.questions: list[tuple[NodeQuestion, ItemTable | None]] = []
        self.limits: list[int | None] = []
        self.room = True
        self.run = stored_at(folder / "runs/mine") if run is None else run

    def ask(self, question: NodeQuestion, items: ItemTable | None) -> list[NodeFitness]:
        self.questions.append((question, items))
        return self.nodes

    def send(self, items: ItemTable, most: int | None) -> ItemTable | None:
        self.limits.append(most)
        return pack(items, lambda chunk: chunk, lambda chunk: chunk, most) if self.room else None

    def fit(self) -> tuple[CollectionPlan, LeftOut]:
        return fitted(self.plan, (self.run, "abc"), self.said.append, self.ask, self.send)


def lacking(node: NodeFitness = FAR, **values: str) -> NodeFitness:
    return NodeFitness(**{**vars(node), **values})


def test_where_all_is_well_nothing_is_said_and_nothing_sent(folder: Path) -> None:
    fitting = Fitting(folder, HERE, FAR)
    plan, left_out = fitting.fit()
    assert plan is fitting.plan and left_out == LeftOut() and fitting.said == [] == fitting.limits
    (question, items) = fitting.questions[0]
    assert question.run == (str(folder / "runs/mine"), "abc") and items is plan.items
    assert question.images is not None and [identity[:7] for _, identity in question.models] == ["sha256:"]


def test_a_node_of_no_use_is_left_out_and_without_any_other_nothing_begins(folder: Path) -> None:
    fitting = Fitting(folder, HERE, lacking(unusable="torch is missing"))
    assert fitting.fit()[1].everywhere == {"2": "torch is missing"}
    assert fitting.said == ["node 10.0.0.2 is left out: torch is missing"]
    nodes = lacking(HERE, unusable="gave no answer"), lacking(unusable="torch is missing")
    with pytest.raises(ClusterError, match=r"can be used: node 10.0.0.1: gave no answer; node 10.0.0.2: torch"):
        Fitting(folder, *nodes).fit()


def test_a_node_that_does_not_see_the_folder_has_a_way_home(folder: Path) -> None:
    fitting = Fitting(folder, HERE, lacking(lacks_run="not there"))
    assert fitting.fit()[1] == LeftOut()
    (line,) = fitting.said
    assert line.startswith(f"node 10.0.0.2: {folder}/runs/mine is not seen there; what its workers store goes through")
    assert Fitting(folder, lacking(HERE, unusable="torch is missing"), FAR).fit()[1].by_models == {
        "1": "torch is missing"
    }
    for wrong in ("lacks_run", "unusable"):
        here = lacking(HERE, **{wrong: "other Python"})
        with pytest.raises(
            ClusterError, match=r"Ray of this machine cannot bring .*runs/mine to .*: other Python; start"
        ):
            Fitting(folder, here, lacking(lacks_run="not there")).fit()


def test_storage_elsewhere_must_be_reached(folder: Path, cache: Path) -> None:
    elsewhere = open_folder("memory://key:secret@place/runs") / "mine"
    fitting = Fitting(folder, HERE, lacking(lacks_run="no keys"), run=elsewhere)
    assert fitting.fit()[1].everywhere == {"2": "no keys"} and "secret" not in str(fitting.said)


def test_images_travel_where_a_node_lacks_them(folder: Path) -> None:
    fitting = Fitting(folder, HERE, lacking(lacks_images="/data/1.png: no such file"))
    plan, left_out = fitting.fit()
    assert plan.items is not fitting.plan.items and plan.items.fingerprint() == fitting.plan.items.fingerprint()
    assert fitting.limits == [AUTO_BYTES] and left_out == LeftOut()
    assert fitting.said[0] == "node 10.0.0.2 lacks images (/data/1.png: no such file)"
    assert "through Ray" in fitting.said[1]


@pytest.mark.parametrize("send", ["never", "auto"])
def test_images_that_do_not_travel_end_it_before_it_begins(folder: Path, send: str) -> None:
    fitting = Fitting(folder, HERE, lacking(lacks_images="/data/1.png: no such file"), send=send)
    fitting.room = False
    with pytest.raises(ClusterError, match=r"^node 10.0.0.2: /data/1.png: no such file; put the .* items.send: always"):
        fitting.fit()
    assert fitting.limits == ([AUTO_BYTES] if send == "auto" else [])


def test_images_that_always_travel_are_not_looked_for(folder: Path) -> None:
    fitting = Fitting(folder, HERE, FAR, send="always")
    assert fitting.fit()[0].items is not fitting.plan.items and fitting.limits == [None]
    assert fitting.questions[0][0].images is None and fitting.questions[0][1] is None


def test_a_node_without_room_for_the_model_needs_neither_it_nor_images(folder: Path) -> None:
    small = NodeFitness("3", "node 10.0.0.3", {"CPU": 1.0}, lacks_model="gone", lacks_images="gone")
    fitting = Fitting(folder, HERE, small)
    plan, left_out = fitting.fit()
    assert plan is fitting.plan and left_out == LeftOut({}, {"3": "gone"}) and fitting.said == []


def test_a_model_that_no_node_has_ends_it_before_it_begins(folder: Path) -> None:
    fitting = Fitting(folder, HERE, lacking(lacks_model="model /m: no such folder"))
    assert fitting.fit()[1] == LeftOut({}, {"2": "model /m: no such folder"})
    assert fitting.said == ["node 10.0.0.2 cannot run the model: model /m: no such folder"]
    nodes = lacking(HERE, lacks_model="model /m: no such folder"), lacking(lacks_model="model /m: no such folder")
    with pytest.raises(ClusterError, match=r"has the model's files: node 10.0.0.1: model /m: no such folder; node"):
        Fitting(folder, *nodes).fit()

"""What is said of a node's packages, code and files, without Ray. Real nodes are in `test_nodes`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweep.execution.ray import fitness
from sweep.execution.ray.fitness import NodeFitness
from sweep.execution.ray.node_report import (
    CODE,
    PACKAGE,
    PACKAGES,
    NodeQuestion,
    NodeReport,
    check_installed,
    code_hash,
    installed,
    report,
)
from sweep.settings.vlm import DEMO_MODEL, ModelSettings
from sweep.storage.local import stored_at
from sweep.trials.failures import UnfitNodeError
from sweep.vlm.keys import model_identity, pinned
from sweep.vlm.pool.nodes import Node

CODE_HERE = "a" * 64
MINE = {"python": "3.11", PACKAGE: "0.2.0", "torch": "2.11.0+cpu", CODE: CODE_HERE}
NODE = Node("n", "10.0.0.3", "worker-2", {"CPU": 1.0}, {"pool": "cpu"})
WELL = NodeReport(CODE_HERE, None, None, None)


def of(versions: dict[str, str | None], failure: str | None = None, found: NodeReport | None = WELL) -> NodeFitness:
    own = {name: version for name, version in MINE.items() if name != CODE}
    return fitness._fitness(NODE, ({**own, **versions}, failure, found), MINE)


def test_a_node_that_has_the_same_is_well() -> None:
    assert of({}) == NodeFitness("n", "node 10.0.0.3 (worker-2)", {"CPU": 1.0}, {"pool": "cpu"})
    assert of({"torch": "2.11.0+cu128"}).unusable is None, "builds for CPU and GPU"


@pytest.mark.parametrize(
    ("versions", "failure", "found", "said"),
    [
        ({"torch": "2.10.0+cpu"}, None, WELL, "torch 2.10.0+cpu is not the driver's 2.11.0+cpu"),
        ({PACKAGE: None}, "no module", None, f"{PACKAGE} is missing; no module"),
        ({PACKAGE: "0.1.0", "python": "3.12"}, None, WELL, "python 3.12 is not the driver's 3.11; "),
        ({}, "No module\n named x", None, "No module named x; install the same on every node"),
        ({}, None, NodeReport("0" * 64, None, None, None), f"{CODE} {'0' * 12} is not the driver's {'a' * 12}; "),
    ],
)
def test_a_node_that_has_something_else_is_of_no_use(
    versions: dict[str, str | None], failure: str | None, found: NodeReport | None, said: str
) -> None:
    reason = of(versions, failure, found).unusable
    assert reason is not None and said in reason and reason.endswith("install the same on every node")


def test_a_node_that_gives_no_answer_is_of_no_use() -> None:
    assert fitness._fitness(NODE, "its process died", MINE).unusable == "its process died"


def test_what_looks_at_a_node_needs_nothing_of_ours() -> None:
    """On a node without the package it still runs, and says what is missing."""
    from ray import cloudpickle

    look = cloudpickle.dumps(fitness._look())
    code = (
        "import sys, pickle\n"
        "for name in ('sweep', 'selector', 'torch'): sys.modules[name] = None\n"
        "look = pickle.loads(sys.stdin.buffer.read())\n"
        "print(look(('ray', 'no-such-package'), ('json', 'sweep.execution.ray.trainable'), ()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], input=look, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    said = ran.stdout.decode()
    assert "'no-such-package': None" in said and "sweep.execution.ray.trainable cannot be imported (Module" in said


def test_all_that_is_compared_is_installed_here() -> None:
    versions, failure, _ = fitness._look()((PACKAGE, *PACKAGES), fitness.MODULES, ())
    assert None not in versions.values() and failure is None


def test_a_worker_of_a_node_that_joined_with_other_versions_does_nothing() -> None:
    check_installed({})
    check_installed(installed())
    with pytest.raises(UnfitNodeError, match=r"^torch .* is not the driver's 9.9; the code of .*; install the same"):
        check_installed({**installed(), "torch": "9.9", CODE: "0" * 64})


# On the node ----------------------------------------------------------------------------------------------------------


def asked(**values: Any) -> NodeQuestion:
    return NodeQuestion(**{"run": None, "models": (), "images": None, **values})


def test_a_node_knows_the_runs_folder_by_the_drivers_mark(tmp_path: Path) -> None:
    place = str(tmp_path / "grpo-1")
    assert f"{place} is not there" in str(report(asked(run=(place, "abc")), None).lacks_run)
    (tmp_path / "grpo-1").mkdir()  # one of this name, on a disk of the node
    assert report(asked(run=(place, "abc")), None).lacks_run is not None
    (stored_at(tmp_path / "grpo-1") / "driver-abc").write_text("")
    assert report(asked(run=(place, "abc")), None).lacks_run is None


def test_a_model_must_be_there_and_the_same(tmp_path: Path) -> None:
    demo = ModelSettings(path=DEMO_MODEL)
    identity = model_identity(demo)
    assert report(asked(models=((pinned(demo, identity), identity),)), None).lacks_model is None
    other = report(asked(models=((demo, "sha256:0"),)), None).lacks_model
    assert other is not None and "another checkpoint than on the driver's machine" in other
    gone = ModelSettings(path=str(tmp_path / "models/qwen"))
    lacking = report(asked(models=((demo, identity), (gone, "sha256:0"))), None).lacks_model
    assert lacking is not None and str(tmp_path / "models/qwen") in lacking


def test_the_code_is_the_same_wherever_it_lies() -> None:
    assert code_hash() == code_hash() and len(code_hash()) == 64

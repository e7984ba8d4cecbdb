"""Which nodes of a cluster can do what, known before a run's first trial.

Every node is asked by a task of its own. The first part of that task needs nothing but Python, so that it also runs on
a node that lacks this package.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

from sweep.execution.ray.deaths import reason_in
from sweep.execution.ray.node_report import (
    CODE,
    PACKAGE,
    PACKAGES,
    REMEDY,
    NodeQuestion,
    NodeReport,
    differences,
    installed,
)
from sweep.items import ItemTable
from sweep.vlm.pool.nodes import Node, living_nodes

SECONDS = 180.0
"""Until a node counts as one that does not answer. On a busy machine it takes a while to import torch."""
MODULES = ("sweep.execution.ray.trainable", "sweep.execution.ray.node_report")
MODULES_OF_MODELS = ("transformers", "sweep.vlm.engine.engine")


@dataclass(frozen=True)
class NodeFitness:
    """What is wrong with a node.

    Attributes:
        id: Ray's.
        name: for people.
        resources: as Ray counts them.
        labels: that Ray knows of it.
        here: whether this process is connected to it.
        unusable: why nothing of ours can run there.
        lacks_run: why it cannot write into the run's folder.
        lacks_model: what is wrong with the files of a model.
        lacks_images: what is wrong with the images.
    """

    id: str
    name: str
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    here: bool = False
    unusable: str | None = None
    lacks_run: str | None = None
    lacks_model: str | None = None
    lacks_images: str | None = None


def ask_nodes(question: NodeQuestion, items: ItemTable | None = None) -> list[NodeFitness]:
    """Ask all nodes that are alive now, at once. One that is about to leave would not answer: nothing begins there.

    Args:
        question: what they need, besides packages and versions.
        items: whose images they need.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    modules = MODULES + (MODULES_OF_MODELS if question.models else ())
    look, given = ray.remote(_look()), [ray.put(question), ray.put(items)]  # opened by who knows their classes

    def ask(node: Node) -> Any:  # noqa: ANN401 (Ray is untyped)
        there = NodeAffinitySchedulingStrategy(node.identity, soft=False)
        task = look.options(num_cpus=0, max_retries=1, name="NodeCheck", scheduling_strategy=there)
        return task.remote((PACKAGE, *PACKAGES), modules, given)

    asked = {ask(node): node for node in living_nodes() if not node.leaving}
    _, late = ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS)
    for ref in late:
        ray.cancel(ref, force=True)
    wanted = installed()
    here, silent = ray.get_runtime_context().get_node_id(), f"gave no answer within {SECONDS:g} s"
    found = [_fitness(node, silent if ref in late else _answer(ref), wanted) for ref, node in asked.items()]
    return [replace(one, here=one.id == here) for one in found]


def _look() -> Callable[..., tuple[dict[str, str | None], str | None, NodeReport | None]]:
    """The task. It is made here so that it travels as code, and not by the name of a module that may be missing."""

    def look(
        packages: Sequence[str], modules: Sequence[str], given: Sequence[Any]
    ) -> tuple[dict[str, str | None], str | None, NodeReport | None]:
        versions: dict[str, str | None] = {"python": ".".join(platform.python_version_tuple()[:2])}
        for name in packages:
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                versions[name] = None
        for name in modules:
            try:
                importlib.import_module(name)
            except Exception as error:  # whatever a module raises where a part of it is missing or another version
                return versions, f"{name} cannot be imported ({type(error).__name__}: {error})", None
        if not given:
            return versions, None, None
        import ray

        node_report = importlib.import_module("sweep.execution.ray.node_report")
        return versions, None, node_report.report(*ray.get(list(given)))

    return look


def _answer(ref: Any) -> Any:  # noqa: ANN401 (what the task gave, or why it gave nothing)
    import ray
    from ray.exceptions import RayError

    try:
        return ray.get(ref)
    except RayError as error:
        return reason_in(str(error))


def _fitness(node: Node, answer: Any, wanted: Mapping[str, str]) -> NodeFitness:  # noqa: ANN401
    known = NodeFitness(node.identity, str(node), node.resources, node.labels)
    if isinstance(answer, str):
        return replace(known, unusable=answer)
    versions, failure, found = answer
    problems = differences(versions if found is None else {**versions, CODE: found.code}, wanted)
    if failure is not None:
        problems.append(" ".join(failure.split()))
    if problems:
        return replace(known, unusable=f"{'; '.join(problems)}; {REMEDY}")
    return replace(known, lacks_run=found.lacks_run, lacks_model=found.lacks_model, lacks_images=found.lacks_images)

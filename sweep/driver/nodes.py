"""Making sure, before anything runs, that the nodes of a cluster have what a plan needs, or that it is brought to them.

On a Ray that is this machine's alone nothing is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from rich.console import Console

from sweep.driver.session import LeftOut, Session
from sweep.embed.model import embedding_checkpoint
from sweep.errors import ClusterError
from sweep.execution.ray.cluster import Cluster
from sweep.execution.ray.fitness import NodeFitness, ask_nodes
from sweep.execution.ray.node_report import NodeQuestion
from sweep.execution.ray.send import send_images
from sweep.items import ItemTable
from sweep.items.witness import witness
from sweep.plan.plan import AnyPlan, CollectionPlan, EmbeddingPlan
from sweep.settings.items import Sending
from sweep.settings.labels import fits
from sweep.settings.vlm import ModelSettings, WorkerSettings
from sweep.storage.path import StoredPath
from sweep.vlm.keys import model_identity, pinned
from sweep.vlm.pool.capacity import capacity_of

P = TypeVar("P", bound=AnyPlan)

AUTO_BYTES = 2**30
"""Images that are sent without having been asked for."""
TO_SEND = "put the images at this path on every node, or have them sent with items.send: always"


@dataclass(frozen=True)
class _Asking:
    """What workers of a plan's models need: the models, the items, and room."""

    items: ItemTable
    models: tuple[ModelSettings, ...]
    workers: tuple[WorkerSettings, ...]


def fit_nodes(plan: P, session: Session) -> P:
    """The plan with images that reach every node. The session leaves out the nodes that are of no use.

    Raises:
        ClusterError: no node can be used, or none that has room for a worker of a model has its files.
    """
    if not session.may_have_nodes:
        return plan
    cluster = session.cluster(plan.bytes)
    if cluster.alone:
        return plan
    plan, session.left_out = fitted(plan, (session.paths.root, session.mark()), session.say)
    return plan


def fit_workers(plan: P, cluster: Cluster, console: Console) -> tuple[P, LeftOut]:
    """The same without a run, on a cluster that is connected, with the nodes that are left out."""
    if cluster.alone:
        return plan, LeftOut()
    return fitted(plan, None, lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))


def fitted(
    plan: P,
    run: tuple[StoredPath, str] | None,
    say: Callable[[str], None],
    ask: Callable[[NodeQuestion, ItemTable | None], list[NodeFitness]] = ask_nodes,
    send: Callable[[ItemTable, int | None], ItemTable | None] = send_images,
) -> tuple[P, LeftOut]:
    """The plan, and the nodes that are left out.

    Args:
        plan: what is to be done.
        run: the run's folder, and what names the driver's mark in it.
        say: shows people a line.
        ask: asks all nodes.
        send: gives a table whose images reach every node. None where they are too large.

    Raises:
        ClusterError: as `fit_nodes`.
    """
    asking = _asking(plan)
    seen = None if asking is None or _sending(plan) is Sending.ALWAYS else witness(asking.items)
    models = () if asking is None else tuple(_identified(one) for one in asking.models)
    question = NodeQuestion(None if run is None else (run[0].place, run[1]), models, seen)
    nodes = [_judged(node, run) for node in ask(question, None if seen is None or asking is None else asking.items)]
    usable = [node for node in nodes if node.unusable is None]
    if not usable:
        raise ClusterError(f"no node of the cluster can be used: {_all(nodes, lambda node: node.unusable)}")
    for node in nodes:
        if node.unusable is not None:
            say(f"{node.name} is left out: {node.unusable}")
    if run is not None and (blind := [node for node in usable if node.lacks_run]):
        _check_way_home(nodes, run[0])
        names = ", ".join(node.name for node in blind)
        say(f"{names}: {run[0].place} is not seen there; what its workers store goes through Ray to this machine")
    if asking is not None:
        plan = cast("P", _with_files(plan, asking, [node for node in usable if _has_room(node, asking)], say, send))
    unusable = {node.id: node.unusable for node in nodes if node.unusable is not None}
    return plan, LeftOut(unusable, unusable | {node.id: node.lacks_model for node in usable if node.lacks_model})


def _check_way_home(nodes: Sequence[NodeFitness], folder: StoredPath) -> None:
    """What carries files home runs in the Ray of this machine, which may be in another container than this process."""
    for node in nodes:
        if node.here and (reason := node.unusable or node.lacks_run):
            raise ClusterError(
                f"the Ray of this machine cannot bring {folder.place} to the nodes that do not see it: {reason}; start "
                "Ray where this process runs, with the same Python, or name another folder with --runs"
            )


def _judged(node: NodeFitness, run: tuple[StoredPath, str] | None) -> NodeFitness:
    """Storage elsewhere must be reached by every node that trains. For a folder of this machine there is a way."""
    if run is None or not run[0].is_remote or node.lacks_run is None:
        return node
    return replace(node, unusable=node.unusable or node.lacks_run)


def _with_files(
    plan: AnyPlan,
    asking: _Asking,
    nodes: Sequence[NodeFitness],
    say: Callable[[str], None],
    send: Callable[[ItemTable, int | None], ItemTable | None],
) -> AnyPlan:
    """The plan for nodes that have room for a worker of a model. Pools report by themselves where there is none."""
    if nodes and all(node.lacks_model for node in nodes):
        raise ClusterError(f"no node has the model's files: {_all(nodes, lambda node: node.lacks_model)}")
    for node in nodes:
        if node.lacks_model:
            say(f"{node.name} cannot run the model: {node.lacks_model}")
    without = [node for node in nodes if node.lacks_images]
    if not without and _sending(plan) is not Sending.ALWAYS:
        return plan
    sent = None
    if _sending(plan) is not Sending.NEVER:
        sent = send(asking.items, None if _sending(plan) is Sending.ALWAYS else AUTO_BYTES)
    if sent is None:
        raise ClusterError(f"{_all(without, lambda node: node.lacks_images)}; {TO_SEND}")
    for node in without:
        say(f"{node.name} lacks images ({node.lacks_images})")
    say("the images are sent through Ray, once to each node that asks for them")
    return _with_items(plan, sent)


def _all(nodes: Sequence[NodeFitness], reason: Callable[[NodeFitness], str | None]) -> str:
    return "; ".join(f"{node.name}: {reason(node)}" for node in nodes)


def _has_room(node: NodeFitness, asking: _Asking) -> bool:
    return any(
        fits(one.labels, node.labels) and capacity_of([node.resources], one.cpus, one.gpus) for one in asking.workers
    )


def _identified(settings: ModelSettings) -> tuple[ModelSettings, str]:
    identity = model_identity(settings)
    return pinned(settings, identity), identity


def _sending(plan: AnyPlan) -> Sending:
    items = plan.request.answers.items
    if items is None:
        return Sending.AUTO
    return Sending.ALWAYS if isinstance(items.path, str) else items.send  # of a URI this process has the only copy


def _asking(plan: AnyPlan) -> _Asking | None:
    if isinstance(plan, EmbeddingPlan):
        vlm = plan.space.vlm
        first = embedding_checkpoint(plan.settings, vlm), plan.settings.workers
        second = () if vlm is None else ((vlm.model, vlm.workers),)
        models, workers = zip(first, *second, strict=True)
        return _Asking(plan.items, models, workers)
    source = plan if isinstance(plan, CollectionPlan) else plan.evaluation
    return None if source is None else _Asking(source.items, (source.vlm.model,), (source.vlm.workers,))


def _with_items(plan: AnyPlan, items: ItemTable) -> AnyPlan:
    if isinstance(plan, CollectionPlan | EmbeddingPlan):
        return replace(plan, items=items)
    return plan if plan.evaluation is None else replace(plan, evaluation=replace(plan.evaluation, items=items))

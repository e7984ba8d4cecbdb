"""Embedding a space's items with its embedding model, on Ray, before its beams are measured."""

from __future__ import annotations

from collections.abc import Callable, Collection

from rich.console import Console

from sweep.driver.nodes import fit_workers
from sweep.driver.session import OpenScreen, Session, announce
from sweep.driver.signals import terminable
from sweep.embed.pool import on_pool
from sweep.embed.service import Embedding, embed_items
from sweep.embed.store import is_embedded
from sweep.execution.ray.cluster import connected
from sweep.execution.ray.options import RayOptions
from sweep.plan.collection import plan_of_embedded
from sweep.plan.plan import AnyPlan, CollectionPlan, EmbeddingPlan, Plan
from sweep.runs.driver import Phase
from sweep.terminal.console import quiet
from sweep.vlm.pool.progress import PoolProgress

UNIT = "images and questions"


def embed(plan: AnyPlan, session: Session) -> Plan | CollectionPlan:
    """The plan over embedded items. What is not embedded yet is embedded now, unless somebody did it meanwhile.

    Raises:
        RunError: too many items lack their image, or a part of them cannot be embedded.
        UserError: what can be checked with embeddings only: queries, pools, splits.
    """
    if not isinstance(plan, EmbeddingPlan):
        return plan
    if not is_embedded(plan.folder.local()):
        session.cluster(plan.bytes)
        with terminable():
            session.pulse.phase(Phase.EMBEDDING, UNIT)
            embed_plan(plan, session.paths.name, session.console, session.pulse.answers, session.left_out.by_models)
    return plan_of_embedded(plan)


def embedded(
    plan: CollectionPlan | EmbeddingPlan, name: str, console: Console, left_out: Collection[str]
) -> CollectionPlan:
    """As `embed`, without a run. Ray is connected. `name` is shown in its dashboard."""
    if isinstance(plan, CollectionPlan):
        return plan
    if not is_embedded(plan.folder.local()):
        embed_plan(plan, name, console, left_out=left_out)
    return plan_of_embedded(plan)


def embed_into(plan: EmbeddingPlan, ray: RayOptions, open_screen: OpenScreen = quiet) -> None:
    """Embed a space's items without a run.

    Args:
        plan: what to embed, and the folder that it goes to.
        ray: which Ray is used.
        open_screen: gives the console that people see.

    Raises:
        as `embed`.
    """
    log = plan.request.shared.root / "embed.log"
    with open_screen(log) as console:
        try:
            with connected(plan.folder.name, plan.bytes, ray) as cluster, terminable():
                announce(console, cluster, log)
                fit, left_out = fit_workers(plan, cluster, console)
                embed_plan(fit, plan.folder.name, console, left_out=left_out.by_models)
        except KeyboardInterrupt:
            console.print("interrupted; the same command goes on, what was embedded is kept", soft_wrap=True)
            raise


def embed_plan(
    plan: EmbeddingPlan,
    name: str,
    console: Console,
    watch: Callable[[PoolProgress], None] = lambda progress: None,
    left_out: Collection[str] = (),
) -> None:
    """Embed, and store what comes of it. What was embedded before, in whatever run, is not embedded again.

    Args:
        plan: what to embed. Its folder is complete when this returns.
        name: shown in Ray's dashboard.
        console: shows progress.
        watch: told of progress, too.
        left_out: ids of nodes that are of no use.
    """
    work = Embedding(plan.settings, plan.space.vlm, plan.items, plan.request.shared.embedding_parts)
    embed_items(work, plan.folder, console, on_pool(work, name, console, watch, left_out))

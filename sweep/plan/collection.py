"""The plan of a collection: which beams will be measured, and where the data will be."""

from __future__ import annotations

from selector.data.native import is_native
from sweep.collect.beams import propose_beams
from sweep.collect.digest import collect_digest, embeddings_hash
from sweep.errors import SpaceError
from sweep.items.shared_images import find_shared_images
from sweep.plan.checks import check_shared_images, check_splits
from sweep.plan.given import open_init
from sweep.plan.items import open_source
from sweep.plan.plan import CollectionPlan
from sweep.plan.requests import Request
from sweep.vlm.engine.loading import check_model
from sweep.vlm.keys import model_identity


def plan_collection(request: Request) -> CollectionPlan:
    """Everything about a collection that can be known and checked before the model is asked.

    Raises:
        SpaceError: the space has no section `collect`.
        UserError: items, embeddings, queries or the model's files cannot be used.
    """
    space = request.space
    if space.collect is None or space.vlm is None:
        raise SpaceError(f"space {space.name!r} has no section collect: which beams are measured")
    source = open_source(space, request.shared)
    settings = source.collect_settings(space.collect)
    embeddings = source.embeddings(settings)
    beams = propose_beams(settings, source.table, embeddings)
    shared = tuple(find_shared_images(beams.queries, source.table.image_ids()))
    check_shared_images(shared, request, by_query=False)
    check_splits(request, beams)
    check_model(space.vlm)
    digest = collect_digest(
        settings, source.table.fingerprint(), embeddings_hash(embeddings), space.vlm, model_identity(space.vlm.model)
    )
    folder, init = request.shared.data_folder(digest), open_init(request, int(embeddings.shape[1]))
    return CollectionPlan(request, settings, space.vlm, source.table, beams, folder, shared, init)


def is_collected(plan: CollectionPlan) -> bool:
    """Whether somebody has measured exactly this already."""
    return is_native(plan.folder.local())

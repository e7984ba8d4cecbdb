"""The plan of a collection: which beams will be measured, and where the data will be."""

from __future__ import annotations

from selector.data.native import is_native
from sweep.collect.beams import propose_beams
from sweep.collect.digest import collect_digest, embeddings_hash, outcome_digest
from sweep.collect.extend import Additions, check_additions, further_beams, read_parent, rounds_of_extension
from sweep.collect.queries import joined
from sweep.collect.rounds import check_budget
from sweep.errors import SpaceError
from sweep.items.shared_images import find_shared_images
from sweep.plan.checks import check_shared_images, check_splits
from sweep.plan.items import open_source
from sweep.plan.plan import CollectionPlan
from sweep.plan.requests import Request
from sweep.storage.hashes import canonical_hash
from sweep.vlm.engine.loading import check_model
from sweep.vlm.keys import model_identity


def plan_collection(request: Request, add: Additions | None = None) -> CollectionPlan:
    """Everything about a collection that can be known and checked before the model is asked.

    Args:
        request: whose section `collect` counts.
        add: for an extension, what is added to which data set.

    Raises:
        SpaceError: the space has no section `collect`.
        UserError: items, embeddings, queries, the model's files or the data set cannot be used.
    """
    space = request.space
    if space.collect is None or space.vlm is None:
        raise SpaceError(f"space {space.name!r} has no section collect: which beams are measured")
    source = open_source(space, request.shared)
    settings = source.collect_settings(space.collect)
    embeddings = source.embeddings(settings)
    check_model(space.vlm)
    named = source.table.fingerprint(), embeddings_hash(embeddings), space.vlm, model_identity(space.vlm.model)
    measured_by, parent = outcome_digest(settings, *named), None
    if add is not None:
        settings = settings.replace(rounds=rounds_of_extension(settings.beams, settings.rounds, add.beams))
        parent = read_parent(add.data, measured_by)
        check_additions(add, settings.rounds, parent)
    digest = collect_digest(settings, *named)
    if parent is None or add is None:
        beams = propose_beams(settings, source.table, embeddings)
        queries = beams.queries
        check_splits(request, beams)
    else:
        digest = canonical_hash([digest, parent.as_ancestor.fingerprint, add.queries])
        beams = further_beams(settings, source.table, embeddings, parent, add.queries)
        queries = joined([parent.measured.beams.queries, beams.queries])
    shared = tuple(find_shared_images(queries, source.table.image_ids()))
    check_shared_images(shared, request, by_query=False)
    check_budget(settings, beams)
    folder = request.shared.data_folder(digest)
    return CollectionPlan(request, settings, space.vlm, source.table, beams, folder, measured_by, parent, shared)


def is_collected(plan: CollectionPlan) -> bool:
    """Whether somebody has measured exactly this already."""
    return is_native(plan.folder.local())

"""The plan of a collection: which beams will be measured, and where the data will be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from selector.data.native import is_native
from sweep.collect.beams import part_of, propose_beams, query_splits
from sweep.collect.digest import collect_digest, embeddings_hash, outcome_digest
from sweep.collect.extend import Additions, Parent, check_additions, read_parent, rounds_of_extension
from sweep.collect.queries import joined
from sweep.collect.rounds import check_budget
from sweep.embed.identity import embed_digest
from sweep.embed.model import check_embedding_model
from sweep.embed.store import is_embedded
from sweep.errors import SpaceError
from sweep.items.shared_images import find_shared_images
from sweep.plan.checks import check_shared_images, check_splits
from sweep.plan.given import open_init
from sweep.plan.items import Source, open_source
from sweep.plan.plan import CollectionPlan, EmbeddingPlan
from sweep.plan.requests import Request
from sweep.settings.collect import CollectSettings
from sweep.settings.embed import EmbedSettings
from sweep.settings.vlm import VlmSettings
from sweep.space import SearchSpace
from sweep.storage.hashes import canonical_hash
from sweep.storage.path import StoredPath
from sweep.vlm.engine.loading import check_model
from sweep.vlm.keys import model_identity


def plan_collection(request: Request, add: Additions | None = None) -> CollectionPlan | EmbeddingPlan:
    """Everything about a collection that can be known and checked before a model is asked.

    Where the items are still to be embedded, what can be known before that.

    Args:
        request: whose section `collect` counts.
        add: for an extension, what is added to which data set.

    Raises:
        SpaceError: the space has no section `collect`.
        UserError: items, embeddings, queries, the model's files or the data set cannot be used.
    """
    space = request.space
    collect, vlm = _sections(space)
    source = open_source(space, request.shared)
    settings = source.collect_settings(collect)
    if space.embed is None or settings.embeddings is not None:
        return _plan_beams(request, vlm, source, settings, None, add)
    folder = _embeddings_folder(request, space.embed, source)
    if is_embedded(folder.local()):
        return _plan_beams(request, vlm, source, settings, folder, add)
    splits = query_splits(settings, source.table)
    check_splits(request, splits)
    check_model(vlm)
    widths = check_embedding_model(space.embed, vlm)
    plan = EmbeddingPlan(request, space.embed, source.table, widths, folder, settings, splits, add)
    return replace(plan, init=open_init(request, plan.width))


def plan_embedding(request: Request) -> EmbeddingPlan:
    """The embedding of a space's items alone, whether it was done before or not.

    Raises:
        SpaceError: the space has no section `embed`.
        UserError: the items or the model's files cannot be used.
    """
    space = request.space
    if space.embed is None:
        raise SpaceError(f"space {space.name!r} has no section embed: what embeds the items")
    source = open_source(space, request.shared)
    folder, widths = _embeddings_folder(request, space.embed, source), check_embedding_model(space.embed, space.vlm)
    return EmbeddingPlan(request, space.embed, source.table, widths, folder, None, np.zeros(0, dtype=np.int8))


def plan_of_embedded(plan: EmbeddingPlan) -> CollectionPlan:
    """The plan when the items are embedded, with the items that are open already. Raises as `plan_collection`."""
    collect, vlm = _sections(plan.space)
    return _plan_beams(plan.request, vlm, Source(plan.items, None), plan.collect or collect, plan.folder, plan.add)


def _sections(space: SearchSpace) -> tuple[CollectSettings, VlmSettings]:
    if space.collect is None or space.vlm is None:
        raise SpaceError(f"space {space.name!r} has no section collect: which beams are measured")
    return space.collect, space.vlm


def _embeddings_folder(request: Request, settings: EmbedSettings, source: Source) -> StoredPath:
    return request.shared.embeddings_folder(embed_digest(settings, request.space.vlm, source.table.fingerprint()))


def _plan_beams(
    request: Request,
    vlm: VlmSettings,
    source: Source,
    settings: CollectSettings,
    folder: StoredPath | None,
    add: Additions | None,
) -> CollectionPlan:
    tables = source.tables(settings, None if folder is None else folder.local())
    separate = {kind: embeddings_hash(table) for kind, table in tables.separate.items()}
    zeros = tables.manifest is not None  # images that could not be read; in a user's own file they are a mistake
    check_model(vlm)
    named = source.table.fingerprint(), embeddings_hash(tables.table), vlm, model_identity(vlm.model)
    measured_by = outcome_digest(settings, *named)
    parent: Parent | None = None
    if add is not None:
        settings = settings.replace(rounds=rounds_of_extension(settings.beams, settings.rounds, add.beams))
        parent = read_parent(add.data, measured_by)
        check_additions(add, settings.rounds, parent)
    digest = collect_digest(settings, *named, separate)
    known = None if parent is None else parent.measured.beams
    if add is not None and known is not None and not add.queries:
        beams = part_of(known, np.zeros(0, dtype=np.int64))
    else:
        beams = propose_beams(
            settings,
            source.table,
            tables.table,
            tables.separate,
            leave_out_zeros=zeros,
            known=None if known is None else known.queries,
            further=0 if add is None else add.queries,
        )
    queries = beams.queries if known is None else joined([known.queries, beams.queries])
    shared = tuple(find_shared_images(queries, source.table.image_ids()))
    check_shared_images(shared, request, by_query=False)
    if add is None or parent is None:
        check_splits(request, queries.split)
    else:
        digest = canonical_hash([digest, parent.as_ancestor.fingerprint, add.queries])
    check_budget(settings, beams)
    return CollectionPlan(
        request,
        settings,
        vlm,
        source.table,
        beams,
        request.shared.data_folder(digest),
        shared,
        tables.manifest,
        measured_by,
        parent,
        open_init(request, int(tables.table.shape[1])),
    )


def is_collected(plan: CollectionPlan) -> bool:
    """Whether somebody has measured exactly this already."""
    return is_native(plan.folder.local())

"""TODO-DOC"""

from __future__ import annotations

from selector.data.native import is_native
from sweep.collect.beams import make_plan as propose_beams
from sweep.collect.digest import collect_digest, embeddings_hash
from sweep.errors import SpaceError
from sweep.plan.checks import _check_splits
from sweep.plan.items import open_source
from sweep.plan.plan import Draft
from sweep.runs.paths import SharedPaths
from sweep.space import SearchSpace
from sweep.storage import mirror
from sweep.vlm.checkpoint import check_checkpoint, resolve_folder
from sweep.vlm.keys import model_identity


def draft(space: SearchSpace, text: str, source: str, shared: SharedPaths) -> Draft:
    """Everything about a collection that can be known and checked before the model is asked.

    Raises:
        SpaceError: the space says nothing of collecting.
        UserError: items, embeddings, queries or the model's files cannot be used.
    """
    if space.collect is None or space.vlm is None:
        raise SpaceError(f"space {space.name!r} has no section collect: which beams are measured")
    items = open_source(space, shared)
    settings = items.collect_settings(space.collect)
    embeddings = items.embeddings(settings)
    beams = propose_beams(settings, items.table, embeddings)
    _check_splits(space, beams)
    check_checkpoint(resolve_folder(space.vlm.model))
    identity = model_identity(space.vlm.model)
    digest = collect_digest(settings, items.table.fingerprint(), embeddings_hash(embeddings), space.vlm, identity)
    return Draft(space, text, source, items, beams, shared.data_folder(digest))


def is_collected(planned: Draft) -> bool:
    """Whether somebody has measured exactly this already."""
    return is_native(mirror.fetch(planned.folder))

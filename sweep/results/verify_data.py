"""The data sets that a run's data extends, checked against the data itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from selector.data.collection import wrong_ancestors
from selector.data.dataset import Dataset
from selector.data.native import BEAMS, MANIFEST, Note, is_native, read_manifest, read_note
from sweep.results.differences import Fault


def lineage_faults(folder: Path | None, dataset: Dataset) -> Iterator[Fault]:
    """What a manifest says of ancestors that is not so. Their own folders are not needed.

    Args:
        folder: where the data was read. Only the native form names ancestors.
        dataset: what was read.
    """
    if folder is None or not is_native(folder):
        return
    record = read_manifest(folder).collection
    if record is None or not record.parents:
        return
    rounds = read_note(folder, Note.ROUND)
    name = str(folder / MANIFEST)
    if rounds is None:
        yield Fault(name, "collection.parents", f"cannot be checked: {BEAMS} has no column {Note.ROUND}")
        return
    for where, what in wrong_ancestors(dataset, np.array(rounds, dtype=np.int64), record):
        yield Fault(name, f"collection.{where}", what, BEAMS)

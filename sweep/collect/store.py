"""Storing measured beams as a data set that trials can be trained on."""

from __future__ import annotations

from pathlib import Path

from selector.data.native import Manifest, Note, read_manifest, write_native
from selector.data.place import Place, file_label
from sweep.collect.measure import Collected
from sweep.storage.path import StoredPath


def store_collected(collected: Collected, folder: StoredPath, source: str) -> Manifest:
    """Store a collection in native form. The folder appears complete or not at all.

    Args:
        collected: from `Measurement.collected`.
        folder: missing or empty. If another process completed it meanwhile, its content stays and this one is dropped.
        source: what was measured by which model, for people. One line.

    Returns:
        The manifest of what is in the folder now.

    Raises:
        DataError: the folder cannot be written, or holds something that is no native data.
    """
    try:
        with folder.new_folder() as temporary:
            notes = {Note.PREDICTION: collected.predictions, Note.PROPOSER: collected.proposers}
            write_native(collected.dataset, temporary, source, notes)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Place(folder.shown).error(f"cannot be written ({reason})") from None
    return read_manifest(folder.local())


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds anything, or a file of that name, before the work of measuring begins."""
    place = Place(file_label(folder))
    if folder.is_dir():
        if any(folder.iterdir()):
            raise place.error("the folder is not empty; name a new or an empty folder")
    elif folder.exists():
        raise place.error("is a file; name a new or an empty folder")

"""Storing measured beams as a data set that trials can be trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from selector.data.collection import CollectionRecord
from selector.data.native import Manifest, Note, Notes, read_manifest, write_native
from selector.data.place import Place, file_label
from sweep.collect.measure import Collected
from sweep.storage.path import StoredPath

CARD = "README.md"


def store_collected(
    collected: Collected, folder: StoredPath, source: str, record: CollectionRecord | None = None
) -> Manifest:
    """Store a collection in native form. The folder appears complete or not at all.

    Args:
        collected: from `Measurement.collected`.
        folder: missing or empty. If another process completed it meanwhile, its content stays and this one is dropped.
        source: what was measured by which model, for people. One line.
        record: rounds and ancestors.

    Returns:
        The manifest of what is in the folder now.

    Raises:
        DataError: the folder cannot be written, or holds something that is no native data.
    """
    try:
        with folder.new_folder() as temporary:
            notes: Notes = {
                Note.PREDICTION: collected.predictions,
                Note.PROPOSER: collected.proposers,
                Note.ROUND: collected.rounds,
            }
            write_native(collected.dataset, temporary, source, notes, record)
            (temporary / CARD).write_text(_card(collected, source, record), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Place(folder.shown).error(f"cannot be written ({reason})") from None
    return read_manifest(folder.local())


def _card(collected: Collected, source: str, record: CollectionRecord | None) -> str:
    """What the data is, for whoever finds the folder."""
    proposers, rounds = Counter(collected.proposers), Counter(collected.rounds)
    lines = [
        "# Measured beams of demonstrations",
        "",
        f"Measured by `{ascii(source)[1:-1]}`. `python -m sweep data describe FOLDER` says what the data can teach.",
        "",
        *(f"- {count} beams proposed by {name}" for name, count in sorted(proposers.items())),
        *(f"- {rounds[number]} beams of round {number}" for number in sorted(rounds)),
    ]
    if record is not None:
        lines += [f"- extends the data set {parent.fingerprint}" for parent in record.parents]
        lines += [f"- ended by the budget of {record.cut_by}"] if record.cut_by else []
        lines += ["", record.bias, "The columns `proposer` and `round` tell the beams apart."] if record.bias else []
    return "\n".join(lines) + "\n"


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds anything, or a file of that name, before the work of measuring begins."""
    place = Place(file_label(folder))
    if folder.is_dir():
        if any(folder.iterdir()):
            raise place.error("the folder is not empty; name a new or an empty folder")
    elif folder.exists():
        raise place.error("is a file; name a new or an empty folder")

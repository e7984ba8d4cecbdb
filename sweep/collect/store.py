"""Measuring beams: from items and embeddings to a data set that trials can be trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from selector.data.dataset import FloatArray
from selector.data.json_text import check_file
from selector.data.native import Manifest, Note, read_manifest, write_native
from selector.data.place import Place, file_label
from selector.model import CONFIG_FILE, WEIGHTS_FILE
from sweep.collect.beams import Items, make_plan
from sweep.collect.measure import Collected, CollectProgress, Measurement
from sweep.collect.outcomes import ScoreText
from sweep.runs.paths import atomic_folder
from sweep.settings.collect import CollectSettings
from sweep.settings.vlm import VlmSettings
from sweep.storage import mirror
from sweep.trials.checkpoints import canonical_hash, file_hash
from sweep.vlm.work import Result, WorkItem
from sweep.vqa.cleanup import CLEANUP_VERSION

VERSION = 1  # of the rules by which beams are proposed and answers become outcomes; part of the digest

Report = Callable[[CollectProgress], None]
AnswerService = Callable[[Iterable[WorkItem]], Iterator[tuple[WorkItem, Result]]]


def collect(
    settings: CollectSettings,
    table: Items,
    embeddings: FloatArray,
    answer: AnswerService,
    score_text: ScoreText,
    report: Report | None = None,
) -> Collected:
    """Propose beams, have them answered, score the answers: `make_plan` and `Measurement` in a row.

    Nothing is stored on the way: what is asked depends on the arguments alone, so after a kill the same is asked
    again, and who answers knows what was answered before.

    Args:
        settings: which beams.
        table: the items.
        embeddings: float32 [M, D], one row per item.
        answer: takes distinct work items, a query's together, and gives one result for each, in any order.
        score_text: accuracy in [0, 1] of a predicted text against an item's ground-truth answers.
        report: called whenever a query's beams all have their results.

    Raises:
        DataError: what cannot be used, before anything is asked; or too little was answered to train on.
        CheckpointError: the selector cannot be loaded.
    """
    plan = make_plan(settings, table, embeddings)
    measurement = Measurement(plan, table, score_text, gt_prob=settings.gt_prob)
    for item, result in answer(plan.work_items()):
        if measurement.add(item, result) and report is not None:
            report(measurement.progress())
    return measurement.collected()


def store_collected(collected: Collected, folder: Path, source: str) -> Manifest:
    """Store a collection in native form. The folder appears complete or not at all.

    Args:
        collected: from `collect`.
        folder: missing or empty. If another process completed it meanwhile, its content stays and this one is dropped.
        source: what was measured by which model, for people; one line.

    Returns:
        The manifest of what is in the folder now.

    Raises:
        DataError: the folder cannot be written, or holds something that is no native data.
    """
    try:
        with atomic_folder(folder) as temporary:
            notes = {Note.PREDICTION: collected.predictions, Note.PROPOSER: collected.proposers}
            write_native(collected.dataset, temporary, source, notes)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Place(file_label(folder)).error(f"cannot be written ({reason})") from None
    return read_manifest(mirror.fetch(folder))


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds anything, or a file of that name; for calling before the work of measuring."""
    place = Place(file_label(folder))
    if folder.is_dir():
        if any(folder.iterdir()):
            raise place.error("the folder is not empty; name a new or an empty folder")
    elif folder.exists():
        raise place.error("is a file; name a new or an empty folder")


def collect_digest(settings: CollectSettings, items: str, embeddings: str, vlm: VlmSettings, model: str) -> str:
    """All that can change a collection, as 64 hex digits.

    Files are told apart by what is in them, not by their names. What changes speed and memory only (batching, workers)
    and where the model lies is not part of it.

    Args:
        settings: which beams, and their metric.
        items: fingerprint of the item table.
        embeddings: `embeddings_hash` of the embeddings.
        vlm: how the model is asked.
        model: identity of the model's weights and processor.

    Raises:
        DataError: a file that the settings name is missing or cannot be read.
    """
    beams: dict[str, Any] = settings.model_dump(mode="json", exclude={"queries", "selector", "embeddings"})
    if settings.queries is not None:
        beams["queries"] = _hash_of(settings.queries)
    if settings.selector is not None:
        beams["selector"] = [_hash_of(settings.selector / name) for name in (CONFIG_FILE, WEIGHTS_FILE)]
    asked = vlm.model_dump(mode="json", include={"prompt", "images", "decoding"})
    asked["precision"] = vlm.model.precision.value
    return canonical_hash([VERSION, CLEANUP_VERSION, beams, items, embeddings, asked, model])


def embeddings_hash(embeddings: FloatArray) -> str:
    """SHA-256 of float32 [M, D], 64 hex digits."""
    digest = hashlib.sha256(f"{embeddings.dtype.str}:{embeddings.shape};".encode())
    digest.update(embeddings.data if embeddings.flags.c_contiguous else embeddings.tobytes())
    return digest.hexdigest()


def _hash_of(file: Path) -> str:
    check_file(file)
    try:
        return file_hash(file)
    except OSError as error:
        raise Place(file_label(file)).error(f"cannot be read ({error.strerror or type(error).__name__})") from None

"""Measuring beams: from items and embeddings to a data set that trials can be trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from selector.data.dataset import FloatArray
from selector.data.native import Manifest, Note, read_manifest, write_native
from selector.data.place import Place, file_label
from sweep.collect.beams import Items, make_plan
from sweep.collect.measure import Collected, CollectProgress, Measurement
from sweep.collect.outcomes import ScoreText
from sweep.settings.collect import CollectSettings
from sweep.storage.path import StoredPath
from sweep.vlm.work import Result, WorkItem

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


def store_collected(collected: Collected, folder: StoredPath, source: str) -> Manifest:
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
        with folder.new_folder() as temporary:
            notes = {Note.PREDICTION: collected.predictions, Note.PROPOSER: collected.proposers}
            write_native(collected.dataset, temporary, source, notes)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Place(folder.shown).error(f"cannot be written ({reason})") from None
    return read_manifest(folder.local())


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds anything, or a file of that name; for calling before the work of measuring."""
    place = Place(file_label(folder))
    if folder.is_dir():
        if any(folder.iterdir()):
            raise place.error("the folder is not empty; name a new or an empty folder")
    elif folder.exists():
        raise place.error("is a file; name a new or an empty folder")

"""Which of a plan's prompts are answered in the store already."""

from __future__ import annotations

import random

from sweep.items.errors import ImageError
from sweep.plan.cost.work import AnswerWork
from sweep.storage.path import StoredPath
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.keys import answer_key, model_identity, score_key
from sweep.vlm.work import WorkItem

KNOWN_SAMPLE = 400
"""Prompts that are looked up in the answer store. A key takes the bytes of its images."""


def known_prompts(work: AnswerWork, answers: StoredPath) -> int | None:
    """Prompts whose answers are stored, by the share among some of those that are asked whatever happens.

    None where answers are kept elsewhere.
    """
    if answers.is_remote:  # all of the store would be fetched
        return None
    store = AnswerStore(answers)
    if not work.stored or not store.parts():
        return 0
    sample = random.Random(0).sample(work.stored, min(KNOWN_SAMPLE, len(work.stored)))
    identity, device = model_identity(work.vlm.model), work.vlm.workers.device
    wanted: dict[WorkItem, Wanted] = {}
    for item in sample:
        try:
            key = answer_key(identity, work.vlm, work.table, item, device)
        except ImageError:
            continue
        wanted[item] = Wanted(key, score_key(work.table, item) if work.score else None)
    return round(work.prompts * work.stored_share * len(store.lookup(wanted)) / len(sample))

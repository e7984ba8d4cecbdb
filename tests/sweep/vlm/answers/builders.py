"""Small answers, put into a store and found there."""

import hashlib

from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.answers.writer import AnswerWriter
from sweep.vlm.work import Answer, WorkItem


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def answer(text="yes", gt_prob=None, tokens=10) -> Answer:
    return Answer(text, gt_prob, tokens)


def fill(store: AnswerStore, numbers, seconds=60.0) -> None:
    with AnswerWriter(store, "model", seconds=seconds) as writer:
        for number in numbers:
            writer.add(WorkItem(number, (1, 2)), Wanted(key_of(number)), answer(f"text {number}"))


def found(store: AnswerStore, numbers) -> dict[int, object]:
    asked = {WorkItem(number): Wanted(key_of(number)) for number in numbers}
    return {item.query: result for item, result in store.lookup(asked).items()}

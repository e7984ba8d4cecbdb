"""Items as columns: light enough to be sent to every worker, with images that are read when they are needed.

Item id = row. The texts are Arrow arrays (100,000 items of ten answers take about 20 MB), which Ray's object store
shares between the processes of a machine without copying. Images stay where they are (`sweep.items.images`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from selector.arrays import Int64Array
from selector.errors import DataError
from selector.hashes import content_hash
from sweep.items.images import Images


@dataclass(frozen=True, slots=True)
class ItemColumns:
    """The texts of N items. Arrays without nulls unless stated, and without offset (`Array.offset` 0).

    Attributes:
        questions: string [N].
        answers: list<string> [N]. Empty lists where there are no annotations.
        image_ids: int64 [N].
        question_ids: int64 [N].
        question_types: string [N] with nulls, or None.
        answer_types: string [N] with nulls, or None.
    """

    questions: pa.StringArray
    answers: pa.ListArray
    image_ids: pa.Int64Array
    question_ids: pa.Int64Array
    question_types: pa.StringArray | None = None
    answer_types: pa.StringArray | None = None


class ItemTable:
    """All items of a run. Immutable. May be used from several threads. Pickles to the size of its texts.

    Items are numbered from 0. An id outside of the table raises IndexError, or is counted from the end if negative.
    """

    def __init__(self, columns: ItemColumns, images: Images) -> None:
        self._columns = columns
        self._images = images

    def __len__(self) -> int:
        return len(self._columns.questions)

    def with_images(self, change: Callable[[Images], Images]) -> ItemTable:
        """The same items, whose images are read in another way."""
        return ItemTable(self._columns, change(self._images))

    def question(self, item: int) -> str:
        """The question's text."""
        text: str = self._columns.questions[item].as_py()
        return text

    def answers(self, item: int) -> tuple[str, ...]:
        """The annotators' answers in their order. Empty for questions without annotations."""
        return tuple(self._columns.answers[item].as_py())

    def shown_answer(self, item: int) -> str:
        """The answer that a demonstration shows: the most common of the annotators', the first of those in a tie.

        Raises:
            DataError: the item has no answers, so it can be asked about but not shown.
        """
        answers = self.answers(item)
        if not answers:
            raise DataError(
                f"item {item} (question {self.question_id(item)}) has no answers, so it cannot be a demonstration; "
                "give its annotations, or take it out of the pools"
            )
        return Counter(answers).most_common(1)[0][0]

    def question_id(self, item: int) -> int:
        """The data set's own number of the question."""
        return int(self._columns.question_ids[item].as_py())

    def image_id(self, item: int) -> int:
        """The data set's own number of the image. Several items may share it."""
        return int(self._columns.image_ids[item].as_py())

    def image_ids(self) -> Int64Array:
        """`image_id` of all items, int64 [M]."""
        return np.asarray(self._columns.image_ids.to_numpy(zero_copy_only=False), dtype=np.int64)

    def question_type(self, item: int) -> str | None:
        """As the annotations name it (`what color`), or None."""
        return _optional(self._columns.question_types, item)

    def answer_type(self, item: int) -> str | None:
        """As the annotations name it (`yes/no`, `number`, `other`), or None."""
        return _optional(self._columns.answer_types, item)

    def image_label(self, item: int) -> str:
        """Where the image is, for messages: a path, or a Parquet file and a row."""
        return self._images.label(item)

    def image_bytes(self, item: int) -> bytes:
        """The encoded image, never empty.

        Raises:
            ImageError: missing or unreadable. Names the place and the reason.
        """
        return self._images.read(item)

    def image_hash(self, item: int) -> str:
        """SHA-256 of `image_bytes`, 64 hex digits. Remembered per file, size and time of change. Raises as that."""
        return self._images.hash(item)

    def images_missing(self) -> int:
        """Items whose image is not there, by listing folders. Unreadable ones are found when they are read."""
        return self._images.missing()

    def fingerprint(self) -> str:
        """SHA-256 over questions, answers and image ids, 64 hex digits. It is the same wherever the files are."""
        return content_hash(self._hashed_parts())

    def _hashed_parts(self) -> Iterator[bytes]:
        columns = self._columns
        yield b"items/1"
        for numbers in (columns.image_ids, columns.answers.value_lengths()):
            yield _little_endian(numbers)
        for texts in (columns.questions, columns.answers.flatten()):
            lengths, content = _as_bytes(texts)
            yield _little_endian(lengths)
            yield content


def _optional(column: pa.StringArray | None, item: int) -> str | None:
    if column is None:
        return None
    text: str | None = column[item].as_py()
    return text


def _little_endian(numbers: pa.Array) -> bytes:
    """Count and values as little-endian int64, whatever integers they were."""
    values = numbers.to_numpy(zero_copy_only=False).astype("<i8")
    return np.concatenate([np.array([len(values)], "<i8"), values]).tobytes()


def _as_bytes(texts: pa.StringArray) -> tuple[pa.Array, bytes]:
    """Length of each text in bytes, and the UTF-8 of all of them in a row."""
    whole = texts.cast(pa.large_binary())
    lengths = pa.array(np.diff(np.frombuffer(whole.buffers()[1], "<i8")[whole.offset :][: len(whole) + 1]))
    return lengths, b"".join(whole.to_pylist())

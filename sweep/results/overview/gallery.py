"""Questions that the best selector turned from wrong to right, and right to wrong, against the baseline."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image

from sweep.evaluation.answer_table import AnswerRecord
from sweep.evaluation.records import Evaluation, RowRecord
from sweep.evaluation.wording import counted
from sweep.items import ItemTable
from sweep.items.errors import ImageError
from sweep.results.overview.model import Card, Gallery, Section, Shown, Side, Text
from sweep.results.overview.sources import Sources
from sweep.vlm.engine.images import pixels_within
from sweep.vlm.engine.pixels import Target, UnfitImageError

CARDS = 8
"""Questions shown in each direction."""
RIGHT = 0.5
"""A question counts as answered right from this accuracy on: two annotators or more said the same."""
THUMBNAIL = Target(1, 112 * 112, 30_000, 1, Image.Resampling.BICUBIC)
SMALL = 64 * 64
"""Images of fewer pixels are kept as they are."""
PATIENCE = 4
"""Images that cannot be shown, after which none is looked for any more: all of them may be gone."""


def gallery_section(sources: Sources) -> Section:
    """Both directions, and how many questions there are of each."""
    title, key = "Questions that changed", "gallery"
    evaluation = sources.evaluation
    row = None if evaluation is None else _best_row(evaluation)
    if evaluation is None or row is None or not sources.answers:
        why = "No trial was evaluated by answers." if evaluation is None or row is None else "The answers are missing."
        return Section(key, title, (Text((why,)),))
    baseline = evaluation.settings.baseline.value
    shots = _shots(evaluation, row)
    pairs = _pairs(sources.answers, evaluation, row, baseline, shots)
    painter = _Painter(sources.material.items)
    better = [pair for pair in pairs if _value(pair[1]) >= RIGHT > _value(pair[0])]
    worse = [pair for pair in pairs if _value(pair[0]) >= RIGHT > _value(pair[1])]
    lead = (
        f"Of {counted(len(pairs), 'question')} that both answered with {counted(shots, 'demonstration')}, {row} turned "
        f"{len(better)} from wrong to right and {len(worse)} from right to wrong, against {baseline}.",
        f"Right means an accuracy of {RIGHT} or more.",
    )
    galleries = [
        painter.gallery("better", f"From wrong to right by {row}", better, shots),
        painter.gallery("worse", f"From right to wrong by {row}", worse, shots),
    ]
    notes = () if sources.material.items is not None else (_no_images(sources),)
    return Section(key, title, (Text((*lead, *notes)), *galleries))


def _no_images(sources: Sources) -> str:
    why = sources.material.missing
    return f"Questions and images cannot be shown{f': {why}' if why else ''}."


def _best_row(evaluation: Evaluation) -> str | None:
    """The winner's row in the table of answers. A finalist stands for several seeds: the one of lowest val_loss."""
    if evaluation.winner.row is None:
        return None
    seeds = [seed for one in evaluation.finalists if one.row == evaluation.winner.row for seed in one.seeds]
    best = min(seeds, key=lambda seed: math.inf if seed.val_loss is None else seed.val_loss, default=None)
    return evaluation.winner.row if best is None else best.name


def _shots(evaluation: Evaluation, name: str) -> int:
    """The number of demonstrations at which the row differs most from the baseline."""
    rows: Sequence[RowRecord] = [row for row in evaluation.rows if row.name in (name, evaluation.winner.row)]
    by_shot = rows[0].minus_baseline_by_shot if rows else ()
    known = [(abs(one.value), shots) for shots, one in zip(evaluation.shots, by_shot, strict=False) if one is not None]
    return max(known)[1] if known else evaluation.shots[-1]


def _pairs(
    answers: Sequence[AnswerRecord], evaluation: Evaluation, row: str, baseline: str, shots: int
) -> list[tuple[AnswerRecord, AnswerRecord]]:
    """Baseline and row on the questions that both answered, the largest change first."""
    split = evaluation.settings.split.value
    found: dict[str, dict[int, AnswerRecord]] = {row: {}, baseline: {}}
    for one in answers:
        if one.row in found and one.split == split and one.shots == shots and one.accuracy is not None:
            found[one.row].setdefault(one.query, one)
    both = sorted(found[row].keys() & found[baseline].keys())
    pairs = [(found[baseline][query], found[row][query]) for query in both]
    return sorted(pairs, key=lambda pair: -abs(_value(pair[1]) - _value(pair[0])))


def _value(record: AnswerRecord) -> float:
    return record.accuracy or 0.0


class _Painter:
    """Makes cards. Each image is decoded once, and one that cannot be is left out."""

    def __init__(self, items: ItemTable | None) -> None:
        self._items = items
        self._failures = 0
        self.image = lru_cache(maxsize=None)(self._image)

    def gallery(self, key: str, title: str, pairs: Sequence[tuple[AnswerRecord, AnswerRecord]], shots: int) -> Gallery:
        cards = tuple(self._card(pair, shots) for pair in pairs[:CARDS])
        return Gallery(key, title, len(pairs), cards)

    def _card(self, pair: tuple[AnswerRecord, AnswerRecord], shots: int) -> Card:
        before, after = (
            Side(one.row, tuple(self._shown(item) for item in one.demonstrations), one.text or "", _value(one))
            for one in pair
        )
        return Card(self._asked(pair[0].item), shots, (before, after))

    def _asked(self, item: int) -> Shown:
        """The question with what the annotators said, the most common first."""
        if self._items is None or not 0 <= item < len(self._items):
            return Shown(item, "", "", None)
        said = Counter(self._items.answers(item)).most_common(4)
        words = ", ".join(f"{answer} ({count})" if count > 1 else answer for answer, count in said)
        return Shown(item, self._items.question(item), words, self.image(item))

    def _shown(self, item: int) -> Shown:
        if self._items is None or not 0 <= item < len(self._items):
            return Shown(item, "", "", None)
        answers = Counter(self._items.answers(item)).most_common(1)
        return Shown(item, self._items.question(item), answers[0][0] if answers else "", self.image(item))

    def _image(self, item: int) -> str | None:
        if self._items is None or self._failures >= PATIENCE:
            return None
        try:
            return thumbnail(self._items.image_bytes(item))
        except (ImageError, UnfitImageError):
            self._failures += 1
            return None


def thumbnail(content: bytes) -> str:
    """A small copy of an encoded image, as a data URI of about 4 kB. Raises UnfitImageError."""
    picture = Image.fromarray(pixels_within(content, THUMBNAIL))
    kind = "png" if picture.width * picture.height <= SMALL else "jpeg"
    written = io.BytesIO()
    picture.save(written, kind, **({"optimize": True} if kind == "png" else {"quality": 72}))
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode()}"

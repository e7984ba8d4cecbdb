"""Work items -> different prompts as numbers, with their images on the way, and the items that cannot be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from selector.errors import DataError
from sweep.items.errors import ImageError
from sweep.settings.texts import Prompt
from sweep.vlm.engine.counters import Counters, Stage
from sweep.vlm.engine.encoding import PromptEncoder
from sweep.vlm.engine.packing import TokenRow
from sweep.vlm.engine.pixels import UnfitImageError
from sweep.vlm.engine.scoring import Tokens
from sweep.vlm.engine.vision import PixelStore, Vision
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import Failure, FailureKind, VlmTable, WorkItem

CHUNK_ITEMS = 1024  # looked at together; the next chunk's images are decoded meanwhile
CHUNK_IMAGES = 512  # a gigabyte or two of pixels at the default limits


@dataclass(slots=True, eq=False)
class Job:
    """One different prompt, and what became of it.

    Attributes:
        truths: every token row that some item of this prompt wants scored.
        text: the answer.
        scores: log-probability of each of `truths`.
    """

    row: TokenRow
    truths: dict[Tokens, None] = field(default_factory=dict)
    failure: Failure | None = None
    text: str = ""
    scores: dict[Tokens, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PendingAnswer:
    """The job that a work item waits for.

    Attributes:
        truths: the item's own ground-truth answers. None where no score is wanted or there is no truth.
    """

    job: Job
    truths: tuple[Tokens, ...] | None


@dataclass(slots=True)
class Chunk:
    """Some items whose images are being decoded: `hashes` by item id, `started` the keys in the pixel store."""

    items: Sequence[WorkItem]
    hashes: Mapping[int, str | ImageError]
    started: tuple[str, ...]


def chunks(items: Sequence[WorkItem]) -> Iterator[list[WorkItem]]:
    """The different items, in an order in which common demonstrations meet, a limited number of images at a time."""
    found: list[WorkItem] = []
    images: set[int] = set()
    for item in sorted(set(items), key=lambda item: (item.demonstrations, item.query)):
        new = {item.query, *item.demonstrations}
        if found and (len(found) == CHUNK_ITEMS or len(images | new) > CHUNK_IMAGES):
            yield found
            found, images = [], set()
        found.append(item)
        images |= new
    if found:
        yield found


class Intake:
    """Prepares work items for the model."""

    def __init__(
        self, renderer: PromptRenderer, encoder: PromptEncoder, vision: Vision, store: PixelStore, counters: Counters
    ) -> None:
        self._renderer, self._encoder = renderer, encoder
        self._vision, self._store, self._counters = vision, store, counters

    def start(self, table: VlmTable, items: Sequence[WorkItem]) -> Chunk:
        """Hash the images of different items, and begin to decode those that will be needed."""
        with self._counters.timing(Stage.IMAGES):
            ids = sorted({image for item in items for image in (item.query, *item.demonstrations)})
            hashes = self._store.hashes(table, ids)
            started: dict[str, None] = {}
            for image, key in hashes.items():
                if isinstance(key, str) and key not in started:
                    started[key] = None
                    self._store.expect(key, partial(table.image_bytes, image), now=not self._vision.knows(key))
        return Chunk(items, hashes, tuple(started))

    def jobs(
        self, table: VlmTable, chunk: Chunk, context: int, score: bool
    ) -> tuple[list[Job], dict[WorkItem, PendingAnswer | Failure]]:
        """Different prompts of at most `context` tokens. Per item the one it waits for, or why it cannot be asked."""
        outcomes: dict[WorkItem, PendingAnswer | Failure] = {}
        prompts: dict[WorkItem, Prompt] = {}
        with self._counters.timing(Stage.PROMPTS):
            for item in chunk.items:
                try:
                    prompts[item] = self._renderer.render(item, table)
                except DataError as error:
                    outcomes[item] = Failure(FailureKind.CRASH, str(error))
        with self._counters.timing(Stage.IMAGES):
            for item, prompt in list(prompts.items()):
                if failure := self._image_failure(table, prompt, chunk):
                    outcomes[item] = failure
                    del prompts[item]
        with self._counters.timing(Stage.PROMPTS):
            jobs = self._encode(table, prompts, chunk, context, outcomes, score)
        return jobs, outcomes

    def _image_failure(self, table: VlmTable, prompt: Prompt, chunk: Chunk) -> Failure | None:
        for image in prompt.images:
            key = chunk.hashes[image]
            if isinstance(key, ImageError):
                return Failure(FailureKind.MISSING, key.reason, key.label)
            try:
                self._vision.grid(key)
            except ImageError as error:
                return Failure(FailureKind.MISSING, error.reason, error.label)
            except UnfitImageError as error:
                return Failure(FailureKind.IMAGE, str(error), table.image_label(image))
        return None

    def _encode(
        self,
        table: VlmTable,
        prompts: Mapping[WorkItem, Prompt],
        chunk: Chunk,
        context: int,
        outcomes: dict[WorkItem, PendingAnswer | Failure],
        score: bool,
    ) -> list[Job]:
        jobs: dict[bytes, Job] = {}
        numbers: dict[str, int] = {}
        truths = self._truths(table, prompts) if score else {}
        all_ids = self._encoder.token_ids([prompt.text for prompt in prompts.values()])
        for (item, prompt), ids in zip(prompts.items(), all_ids, strict=True):
            keys = [str(chunk.hashes[image]) for image in prompt.images]
            row = self._encoder.row(ids, keys, {key: self._vision.grid(key) for key in keys}, numbers)
            if len(row) > context:
                outcomes[item] = Failure(
                    FailureKind.TOO_LONG, f"{len(row)} tokens of prompt; the model's context leaves room for {context}"
                )
                continue
            job = jobs.setdefault(row.key, Job(row))
            job.truths |= dict.fromkeys(truths.get(item, ()))
            outcomes[item] = PendingAnswer(job, truths.get(item))
        return list(jobs.values())

    def _truths(self, table: VlmTable, prompts: Mapping[WorkItem, Prompt]) -> dict[WorkItem, tuple[Tokens, ...]]:
        """Token rows of the different ground-truth answers of each item that has any."""
        texts: list[str] = []
        owners: list[WorkItem] = []
        for item, prompt in prompts.items():
            space = "" if prompt.text[-1:].isspace() else " "  # as an answer would follow this prompt
            answers = dict.fromkeys(table.answers(item.query))
            texts += [space + answer for answer in answers]
            owners += [item] * len(answers)
        found: dict[WorkItem, dict[Tokens, None]] = {}
        for item, ids in zip(owners, self._encoder.plain_ids(texts), strict=True):
            found.setdefault(item, {})[tuple(ids)] = None
        return {item: tuple(rows) for item, rows in found.items()}

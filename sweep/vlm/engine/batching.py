"""Different prompts -> answers: prefill batches, decode batches, and what happens when memory runs out.

Invariant: every job ends with a text (and the scores it wants) or with a failure. Nothing is asked twice, except
after a lack of memory.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sweep.settings.vlm import BatchingSettings, DecodingSettings
from sweep.vlm.engine.counters import Counters, Stage
from sweep.vlm.engine.decoding import Stopped, decode
from sweep.vlm.engine.devices import Limit, watching_memory
from sweep.vlm.engine.intake import Job
from sweep.vlm.engine.loading import Loaded
from sweep.vlm.engine.packing import batch_size, packed_length
from sweep.vlm.engine.prefill import Prefilled, prefill
from sweep.vlm.engine.scoring import log_probabilities, tail_columns
from sweep.vlm.engine.tails import Tails
from sweep.vlm.engine.vision import ImageMemoryError, Vision
from sweep.vlm.work import Failure, FailureKind

Read = tuple[Job, Prefilled]

logger = logging.getLogger(__name__)


class Runner:
    """Runs jobs on one device.

    Attributes:
        limits: tokens of a prefill, rows of a decode batch, and prompts that are read but not yet decoded.
    """

    def __init__(
        self, loaded: Loaded, vision: Vision, batching: BatchingSettings, decoding: DecodingSettings, counters: Counters
    ) -> None:
        self._loaded, self._vision, self._decoding, self._counters = loaded, vision, decoding, counters
        self._tokens = Limit("prefill_tokens", batching.prefill_tokens_on(loaded.device.type))
        self._rows = Limit("decode_rows", batching.decode_rows)
        self._held = Limit("prompts held for decoding", 2 * batching.decode_rows)  # two: so that lengths can be sorted
        self._tried_alone: Job | None = None
        self.limits = (self._tokens, self._rows, self._held)

    def run(self, jobs: Sequence[Job]) -> None:
        """Answer jobs with different prompts. Results go into the jobs."""
        waiting = sorted(jobs, key=lambda job: job.row.key)
        held: list[Read] = []
        at = 0
        while at < len(waiting):
            count = batch_size([job.row for job in waiting[at:]], self._tokens.value)
            batch = waiting[at : at + count]
            try:
                read = self._prefill(batch)
            except ImageMemoryError as error:
                self._fail_users(batch, str(error))
                waiting[at : at + count] = [job for job in batch if job.failure is None]
                continue
            if read is None:
                if self._shrink(batch, held):
                    continue
                read = []
            at += count
            held += read
            if len(held) >= self._held.value:
                self._finish(held)
        self._finish(held)

    def _prefill(self, batch: Sequence[Job]) -> list[Read] | None:
        """The jobs, read; None if memory ran out."""
        rows = [job.row for job in batch]
        with self._counters.timing(Stage.VISION):
            features = self._vision.features(key for row in rows for key, _ in row.images)
        with self._counters.timing(Stage.PREFILL), watching_memory(self._loaded.device):
            read, packed = prefill(self._loaded, rows, features)
            self._counters.prefill_tokens += len(packed.tokens)
            self._counters.shared_tokens += packed.saved
            return list(zip(batch, read, strict=True))
        return None

    def _shrink(self, batch: Sequence[Job], held: list[Read]) -> bool:
        """After a prefill that did not fit: whether to try again."""
        if held:
            self._held.halve(len(held))
            self._finish(held)
        elif len(batch) > 1:
            self._tokens.halve(packed_length([job.row for job in batch]))
        elif self._tried_alone is batch[0] or not self._vision.release():
            tokens = len(batch[0].row)
            batch[0].failure = Failure(
                FailureKind.MEMORY, f"{tokens} tokens of prompt do not fit into the device's memory"
            )
            return False
        else:
            self._tried_alone = batch[0]  # the next attempt computes its image features again
        return True

    def _finish(self, held: list[Read]) -> None:
        """Score and decode what was read, rows of similar length side by side. Empties the list."""
        waiting = sorted(held, key=lambda one: len(one[0].row))
        held.clear()
        while waiting:
            batches = -(-len(waiting) // self._rows.value)
            batch = waiting[-(-len(waiting) // batches) * -1 :]
            with watching_memory(self._loaded.device) as ran_out:
                self._decode(batch)
            if not ran_out:
                del waiting[-len(batch) :]
            elif len(batch) > 1:
                self._rows.halve(len(batch))
            elif not self._vision.release():
                job = waiting.pop()[0]
                job.failure = Failure(
                    FailureKind.MEMORY, f"answering after {len(job.row)} tokens does not fit into the device's memory"
                )

    def _decode(self, batch: Sequence[Read]) -> None:
        settings = self._decoding
        order: dict[int, int] = {}  # prompts of one prefill side by side: their keys and values are copied together
        for _, read in batch:
            order.setdefault(id(read.prefix.packed), len(order))
        batch = sorted(batch, key=lambda one: order[id(one[1].prefix.packed)])
        truths = [list(job.truths) for job, _ in batch]
        columns = max(tail_columns(truths), (settings.max_new_tokens - 1) * settings.num_beams)
        with self._counters.timing(Stage.DECODE):
            tails = Tails(self._loaded, [read for _, read in batch], columns)
        if any(truths):
            with self._counters.timing(Stage.SCORE):
                scores = log_probabilities(tails, truths, self._loaded.end_ids)
            for (job, _), found in zip(batch, scores, strict=True):
                job.scores = found
        with self._counters.timing(Stage.DECODE):
            answers = decode(tails, settings, self._loaded.end_ids, self._stopped())
        for (job, _), tokens in zip(batch, answers, strict=True):
            job.text = self.text(tokens)

    def text(self, tokens: Sequence[int]) -> str:
        """The answer's text, cut at the first stop string."""
        text = self._plain(tokens)
        cuts = [text.find(stop) for stop in self._decoding.stop]
        return text[: min((cut for cut in cuts if cut >= 0), default=len(text))].strip()

    def _stopped(self) -> Stopped | None:
        if not self._decoding.stop:
            return None
        return lambda tokens: any(stop in self._plain(tokens) for stop in self._decoding.stop)

    def _plain(self, tokens: Sequence[int]) -> str:
        tokenizer: Any = self._loaded.tokenizer
        return str(tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _fail_users(self, batch: Sequence[Job], image: str) -> None:
        for job in batch:
            if any(key == image for key, _ in job.row.images):
                job.failure = Failure(FailureKind.MEMORY, "an image of it does not fit into the device's memory")

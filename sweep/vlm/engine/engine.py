"""Work items -> answers, as fast as one device can, each item's fault its own.

The way of a call:

1. Equal prompts become one (`intake`). Images are hashed and decoded in threads (`vision`).
2. Image features are computed, or taken from a cache (`vision`).
3. Prompts are sorted so that common beginnings meet, and packed into batches (`packing`). In a batch every shared token
   is computed once (`prefill`).
4. When enough prompts are read, they are sorted by length, scored (`scoring`) and decoded (`decoding`) side by side.

Whatever does not fit into the device's memory is tried again in halves (`batching`). Each item gets one `Answer` or one
`Failure`, in the order asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum

import torch

from sweep.settings.vlm import DEMO_MODEL, VlmSettings
from sweep.vlm.engine.batching import Runner
from sweep.vlm.engine.counters import Counters, EngineStatistics
from sweep.vlm.engine.encoding import PromptEncoder
from sweep.vlm.engine.intake import Chunk, Intake, PendingAnswer, chunks
from sweep.vlm.engine.loading import Loaded, load
from sweep.vlm.engine.vision import FeatureCache, PixelStore, Vision
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import Answer, Failure, Result, VlmTable, WorkItem

_PATCHES_PER_TOKEN = 4
"""Patches of a pass of the vision tower for each token of a prefill: four cost less than a token. On the CPU it is one,
since in its cache a patch takes as much room as a token."""


class Engine:
    """One model on one device. Not for several threads at once.

    Args:
        settings: `settings.workers` has no meaning here.
        device: `cpu`, `cuda`, `cuda:1` and so on. By default a GPU if there is one.
        loaded: a model that is there already, in place of `settings.model` and `device`. Engines may share one.

    Raises:
        ModelError: the checkpoint is missing, incomplete, damaged, or no Qwen2.5-VL.
        SpaceError: the prompt template is not valid.
    """

    def __init__(self, settings: VlmSettings, device: str | None = None, loaded: Loaded | None = None) -> None:
        self.settings = settings
        self.loaded: Loaded = loaded or load(settings.model, device)
        self._counters = Counters()
        batching = settings.batching
        self._cache = FeatureCache(int(batching.vision_cache_gb * 1e9))
        self._store = PixelStore(self.loaded, settings.images, batching.image_threads, self._counters)
        place = self.loaded.device.type
        patches = batching.prefill_tokens_on(place) * (1 if place == "cpu" else _PATCHES_PER_TOKEN)
        self._vision = Vision(self.loaded, self._store, self._cache, patches, self._counters)
        self._intake = Intake(
            PromptRenderer(settings.prompt, self.loaded.tokenizer, foreign=settings.model.path != DEMO_MODEL),
            PromptEncoder(self.loaded.tokenizer, self.loaded.model.config.image_token_id),
            self._vision,
            self._store,
            self._counters,
        )
        self._runner = Runner(self.loaded, self._vision, batching, settings.decoding, self._counters)

    @torch.inference_mode()
    def answer(self, table: VlmTable, items: Sequence[WorkItem], score: bool = False) -> list[Result]:
        """Ask the model.

        Args:
            table: the items.
            items: any number, duplicates welcome. All at once is faster than in parts.
            score: also measure `Answer.gt_prob`. Its last bits are those of this very list of items: what the engine
                was asked before does not change them.

        Returns:
            One result per item, in their order.

        Raises:
            SpaceError: the prompt settings do not fit the checkpoint, or a free template fails.
        """
        results: dict[WorkItem, Result] = {}
        self._vision.one_by_one = score
        parts = chunks(items)
        try:
            following = self._start(table, next(parts, None))
            while following is not None:
                chunk, following = following, self._start(table, next(parts, None))
                results |= self._results(table, chunk, score)
                ahead = set(following.started) if following else set()
                self._vision.forget(key for key in chunk.started if key not in ahead)
        finally:
            self._vision.clear()
        self._counters.items += len(items)
        return [results[item] for item in items]

    def _start(self, table: VlmTable, items: Sequence[WorkItem] | None) -> Chunk | None:
        return None if items is None else self._intake.start(table, items)

    def _results(self, table: VlmTable, chunk: Chunk, score: bool) -> dict[WorkItem, Result]:
        context = self.loaded.context - self.settings.decoding.max_new_tokens
        jobs, outcomes = self._intake.jobs(table, chunk, context, score)
        self._counters.prompts += len(jobs)
        self._runner.run(jobs)
        return {item: _result(outcome) for item, outcome in outcomes.items()}

    @property
    def statistics(self) -> EngineStatistics:
        """What was done since the engine was made."""
        counters = self._counters
        return EngineStatistics(
            items=counters.items,
            prompts=counters.prompts,
            images_decoded=counters.images_decoded,
            vision_hits=counters.vision_hits,
            vision_misses=counters.vision_misses,
            vision_evictions=self._cache.evictions,
            prefill_tokens=counters.prefill_tokens,
            shared_tokens=counters.shared_tokens,
            halvings=sum(limit.halvings for limit in (*self._runner.limits, self._vision.patches)),
            seconds=dict(counters.seconds),
        )

    def close(self) -> None:
        """Stop the decoding threads and free the cached features. For processes that outlive an engine."""
        self._store.close()
        self._cache.clear()


def _result(outcome: PendingAnswer | Failure) -> Result:
    if isinstance(outcome, Failure):
        return outcome
    job = outcome.job
    if job.failure is not None:
        return job.failure
    probability = None
    if outcome.truths is not None:
        probability = min(1.0, fsum(exp(job.scores[truth]) for truth in outcome.truths))
    return Answer(job.text, probability, len(job.row))

"""What an engine has done so far, in numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """Where time goes. On a GPU work is counted where its result is waited for, mostly in `decode`."""

    IMAGES = "images"  # hashing, and waiting for decoding threads
    PROMPTS = "prompts"  # rendering, tokenising, positions
    VISION = "vision"
    PREFILL = "prefill"
    SCORE = "score"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """Counters since an engine was made.

    Attributes:
        items: work items that were asked.
        prompts: different prompts that were answered for them.
        images_decoded: images decoded and resized.
        vision_hits, vision_misses, vision_evictions: of the feature cache. A hit or miss per image and batch.
        prefill_tokens: prompt tokens that went through the model.
        shared_tokens: prompt tokens that did not, because a prompt of the same batch begins alike.
        halvings: how often a batch size was halved for lack of memory.
        seconds: host time by stage.
    """

    items: int
    prompts: int
    images_decoded: int
    vision_hits: int
    vision_misses: int
    vision_evictions: int
    prefill_tokens: int
    shared_tokens: int
    halvings: int
    seconds: dict[Stage, float]


@dataclass(slots=True)
class Counters:
    """The counters while they grow. Fields as in `EngineStatistics`."""

    items: int = 0
    prompts: int = 0
    images_decoded: int = 0
    vision_hits: int = 0
    vision_misses: int = 0
    prefill_tokens: int = 0
    shared_tokens: int = 0
    seconds: dict[Stage, float] = field(default_factory=lambda: dict.fromkeys(Stage, 0.0))

    @contextmanager
    def timing(self, stage: Stage) -> Iterator[None]:
        """Adds the time of the block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - started

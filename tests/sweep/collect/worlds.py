"""Items in memory and an answerer with a stated rule, so that every outcome is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sweep.collect.beams import Beams, propose_beams
from sweep.collect.measure import Collected, CollectProgress, Measured, Measurement
from sweep.collect.outcomes import ScoreText
from sweep.settings.collect import CollectSettings
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem

WIDTH = 6


@dataclass
class Table:
    """Item i has topic `topics[i]` and is on image `images[i]`. Ten annotators; `dissent[i]` of them say otherwise."""

    topics: np.ndarray
    images: np.ndarray
    dissent: np.ndarray
    unanswered: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.topics)

    def question(self, item: int) -> str:
        return f"what topic has item {item}"

    def answers(self, item: int) -> tuple[str, ...]:
        if item in self.unanswered:
            return ()
        others = int(self.dissent[item])
        return (*[f"topic{self.topics[item]}"] * (10 - others), *[f"other{number}" for number in range(others)])

    def shown_answer(self, item: int) -> str:
        return Counter(self.answers(item)).most_common(1)[0][0]

    def image_id(self, item: int) -> int:
        return int(self.images[item])


def table(items: int = 60, images: int | None = None, seed: int = 0, **fields: Any) -> Table:
    rng = np.random.default_rng(seed)
    topics = rng.integers(5, size=items)
    on_image = rng.permutation(np.arange(items) % (images or items)) + 1000
    return Table(topics, on_image, rng.choice([0, 7, 8], size=items), **fields)


def embeddings(world: Table, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, 1])
    centres = rng.normal(size=(5, WIDTH))
    rows = centres[world.topics] + 0.8 * rng.normal(size=(len(world), WIDTH))
    return (3 * rows).astype(np.float32)  # not of unit length, as users' tables need not be


def settings(**values: Any) -> CollectSettings:
    base: dict[str, Any] = {
        "build": {"count": 20, "pool": {"size": 8}, "split": {"val": 0.2, "test": 0.2}},
        "beams": {"similarity": 1, "similarity_sampled": 3, "random": 4},
    }
    return CollectSettings.model_validate(base | values)


@dataclass
class Answerer:
    """Says the topic that the demonstrations show most often (the last one in a tie).

    Work items whose number is in `failing` fail. Results come back reversed within chunks, as a pool's do.
    """

    world: Table
    failing: Any = None
    chunk: int = 7
    asked: list[WorkItem] = field(default_factory=list)

    def __call__(self, items: Iterable[WorkItem]) -> Iterator[tuple[WorkItem, Result]]:
        waiting: list[tuple[WorkItem, Result]] = []
        for item in items:
            self.asked.append(item)
            waiting.append((item, self.result(item)))
            if len(waiting) == self.chunk:
                yield from reversed(waiting)
                waiting = []
        yield from reversed(waiting)

    def result(self, item: WorkItem) -> Result:
        if self.failing is not None and self.failing(item):
            return Failure(FailureKind.IMAGE, "truncated", "somewhere.jpg")
        shown = [self.world.shown_answer(demo) for demo in item.demonstrations]
        text = Counter(reversed(shown)).most_common(1)[0][0]
        return Answer(text, shown.count(self.world.shown_answer(item.query)) / len(shown), 100)


def measured(beams: Beams, world: Table, answer: Callable[[Iterable[WorkItem]], Any], score: ScoreText) -> Measured:
    """One round answered and scored."""
    measurement = Measurement(beams, world, score, gt_prob=True)
    for item, result in answer(beams.work_items()):
        measurement.add(item, result)
    return measurement.measured()


def collect(
    asked: CollectSettings,
    world: Table,
    rows: np.ndarray,
    answer: Callable[[Iterable[WorkItem]], Iterator[tuple[WorkItem, Result]]],
    score: ScoreText,
    report: Callable[[CollectProgress], None] | None = None,
) -> Collected:
    """Propose beams, have them answered, score the answers."""
    beams = propose_beams(asked, world, rows)
    measurement = Measurement(beams, world, score, gt_prob=asked.gt_prob)
    for item, result in answer(beams.work_items()):
        if measurement.add(item, result) and report is not None:
            report(measurement.progress())
    return measurement.collected()

"""A small data set, and a model of the world that answers by it: right where the demonstrations are of its topic."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from selector.config import SelectorConfig
from selector.data import Dataset
from selector.data.settings import DemoSettings, SplitSettings
from selector.data.synthetic import demo_dataset, demo_world
from selector.model import PointerSelector, build_selector
from sweep.evaluation.questions import Questions, choose_questions
from sweep.evaluation.rows import Panel, PolicyRow, RowKind, Selections
from sweep.settings.evaluation import SplitName
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem
from sweep.vqa.accuracy import AnswerNormalisation

DEMO = DemoSettings(items=300, queries=120)


@lru_cache(maxsize=1)
def dataset() -> Dataset:
    return demo_dataset(DEMO, SplitSettings())


@lru_cache(maxsize=1)
def held_out() -> Questions:
    return choose_questions(dataset(), SplitName.TEST, None, 0)


def selector(seed: int) -> PointerSelector:
    config = SelectorConfig(
        width=dataset().width, hidden=16, layers=1, heads=2, decoder="gate", temperature=0.1, dropout=0.0
    )
    return build_selector(config, seed).eval()


def trial(number: int, val_loss: float | None = None) -> PolicyRow:
    return PolicyRow(
        f"trial {number}", RowKind.TRIAL, trial=number, step=3, seed=number, val_loss=val_loss, checkpoint="c0"
    )


@dataclass
class World:
    """Answers work items and remembers what it was asked."""

    broken: frozenset[int] = frozenset()  # items whose image cannot be read
    calls: list[list[WorkItem]] = field(default_factory=list)

    def ask(self, items: Sequence[WorkItem]) -> Mapping[WorkItem, Result]:
        self.calls.append(list(items))
        return {item: self._answer(item) for item in items}

    def _answer(self, item: WorkItem) -> Result:
        bad = sorted(self.broken & {item.query, *item.demonstrations})
        if bad:
            return Failure(FailureKind.IMAGE, "not an image", f"images/{bad[0]}.jpg")
        topic = demo_world(DEMO).topic
        same = sum(topic[shown] == topic[item.query] for shown in item.demonstrations)
        chance = hashlib.sha256(repr(item).encode()).digest()[0] / 256
        return Answer("right" if chance < 0.1 + 0.4 * same else "Wrong", None, 10)


def score(item: int, text: str, normalisation: AnswerNormalisation) -> float:
    return float(text == "right") if normalisation is AnswerNormalisation.OFFICIAL else float(text == "right") * 0.5


@dataclass
class Coins:
    """Questions without content: a row called by its rate answers right so often, questions being equally hard for all.

    `ask` recognises a row by the demonstration that only it shows.
    """

    rates: Mapping[str, float]
    count: int
    seed: int
    own: float = 0.3  # share of questions on which rows differ by chance

    def panel(self, kinds: Mapping[str, RowKind]) -> Panel:
        Q = self.count
        items = np.arange(Q)
        questions = Questions(
            SplitName.TEST, items, items, items, np.arange(len(self.rates))[None].repeat(Q, 0) + Q, excluded=0
        )
        selections = []
        for index, name in enumerate(self.rates):
            number = int(name.split()[-1]) if name.split()[-1].isdigit() else None
            row = PolicyRow(name, kinds.get(name, RowKind.TRIAL), trial=number)
            selections.append(Selections(row, np.full((1, Q, 1), Q + index)))
        return Panel(questions, tuple(selections))

    def ask(self, items: Sequence[WorkItem]) -> Mapping[WorkItem, Result]:
        if not hasattr(self, "_right"):
            generator = np.random.default_rng(self.seed)
            shared = generator.random(self.count)
            self._right = []
            for rate in self.rates.values():
                alone = generator.random(self.count) < self.own
                self._right.append(np.where(alone, generator.random(self.count), shared) < rate)
        return {
            item: Answer("right" if self._right[item.demonstrations[0] - self.count][item.query] else "wrong", None, 1)
            for item in items
        }


def rows_of(generator: np.random.Generator, rates: list[float], questions: int, own: float = 0.3) -> np.ndarray:
    """Right or wrong per row and question [R, Q]; rows share their luck except on a share of questions."""
    shared = generator.random(questions)
    alone = generator.random((len(rates), questions)) < own
    luck = np.where(alone, generator.random((len(rates), questions)), shared)
    return (luck < np.array(rates)[:, None]).astype(float)

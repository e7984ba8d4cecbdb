"""A fake training run that an owner drives, without Ray and without training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweep.runs.paths import sqlite_url
from sweep.space import SearchSpace, parse_space
from sweep.study import AskedTrial, NoTrial, Standing, StudyOwner

SPACE = """
name: fake
trial: {rce: {epochs: 2, reward: {mode: hard_plus_soft}}, grpo: {epochs: 3}}
parameters:
  grpo.ppo_clip_only: {type: categorical, choices: [false, true]}
  grpo.kl_beta: {type: float, low: 0.01, high: 0.5, log: true, when: {grpo.ppo_clip_only: false}}
  grpo.lr: {type: float, low: 1.0e-5, high: 1.0e-3, log: true}
  grpo.batch_size: {type: int, low: 8, high: 64, step: 8}
enqueue:
  - {grpo.ppo_clip_only: true, grpo.lr: 5e-5}
seed: 7
"""


@pytest.fixture(scope="session")
def make_space() -> Callable[..., SearchSpace]:
    """`make_space(sampler=..., budget=...)`: YAML text per top-level key, on top of `SPACE`."""

    def make(**sections: str) -> SearchSpace:
        kept = "\n".join(block for block in _blocks(SPACE) if block.split(":", 1)[0] not in sections)
        return parse_space(kept + "\n" + "\n".join(f"{key}: {value}" for key, value in sections.items()), "fake.yaml")

    return make


def _blocks(text: str) -> Iterator[str]:
    block: list[str] = []
    for line in text.strip().splitlines():
        if block and not line.startswith(" "):
            yield "\n".join(block)
            block = []
        block.append(line)
    yield "\n".join(block)


def curve(asked: AskedTrial) -> list[float]:
    """Validation losses: falling in RCE, then decided by the parameters and a little by the trial's seed."""
    settings = asked.settings
    noise = int(hashlib.sha256(f"{asked.key}:{settings.seed}".encode()).hexdigest()[:4], 16) / 0xFFFF
    level = 0.5 + abs(settings.grpo.lr - 3e-4) * 300 + settings.grpo.batch_size / 500 + 0.1 * noise
    warm_up = [1.0 - 0.3 * (epoch + 1) for epoch in range(settings.rce.epochs)]
    return warm_up + [level + 0.2 / (epoch + 1) for epoch in range(settings.grpo.epochs)]


def run_trial(owner: StudyOwner, asked: AskedTrial, after_step: Callable[[], None] = lambda: None) -> None:
    values = curve(asked)
    for step, value in enumerate(values, start=1):
        owner.report(asked.number, step, value)
        after_step()
        if owner.should_prune(asked.number):
            owner.prune(asked.number, "pruner", Standing(best_step=1, best_loss=values[0]))
            return
    best = min(values[asked.settings.rce.epochs :])
    owner.complete(asked.number, best, Standing(best_step=values.index(best) + 1, best_loss=best))


@pytest.fixture(scope="session")
def drive() -> Callable[[StudyOwner], NoTrial]:
    """Runs trials one at a time until the owner gives no more; what was left unfinished first."""

    def run(owner: StudyOwner) -> NoTrial:
        for asked in owner.adopt():
            run_trial(owner, asked)
        while not isinstance(asked := owner.ask(), NoTrial):
            run_trial(owner, asked)
        return asked

    return run


@pytest.fixture
def open_owner(tmp_path: Path) -> Callable[..., StudyOwner]:
    """Opens the same study on a real SQLite file, as often as asked."""

    def make(space: SearchSpace, file: str = "study.db", **options: object) -> StudyOwner:
        return StudyOwner.open(sqlite_url(tmp_path / file), "fake", space, **options)

    return make

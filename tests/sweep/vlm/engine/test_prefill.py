"""Logits in float32: shared or separate, together or alone, cached or not, they are those of a plain forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from sweep.vlm.engine.engine import Engine
from sweep.vlm.engine.intake import Job
from sweep.vlm.engine.prefill import Prefilled, prefill
from sweep.vlm.engine.tails import Tails
from sweep.vlm.work import WorkItem
from tests.sweep.vlm.conftest import Make
from tests.sweep.vlm.engine.test_engine import PROMPTS, random_items
from tests.sweep.vlm.models import MemoryTable
from tests.sweep.vlm.plain import Plain

TOLERANCE = 2e-4  # of the largest logit: float32 sums in another order, differently on every kind of CPU. 6e-5 was seen


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE * float(expected.abs().max()), rtol=0.0)


def jobs_of(engine: Engine, table: MemoryTable, items: Sequence[WorkItem]) -> list[Job]:
    """One per item; the items' prompts must differ."""
    chunk = engine._intake.start(table, items)
    return engine._intake.jobs(table, chunk, 4096, score=False)[0]


def read(engine: Engine, jobs: Sequence[Job]) -> dict[bytes, Prefilled]:
    rows = sorted((job.row for job in jobs), key=lambda row: row.key)
    features = engine._vision.features(key for row in rows for key, _ in row.images)
    return dict(zip((row.key for row in rows), prefill(engine.loaded, rows, features)[0], strict=True))


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@torch.inference_mode()
def test_prompts_in_a_tree_or_alone_give_plain_logits(make: Make, table: MemoryTable, prompt: dict[str, str]) -> None:
    engine = Engine(make(prompt=prompt), "cpu")
    plain = Plain(engine.settings)
    items = list(dict.fromkeys(random_items(31, len(table) - 1, 14)))
    jobs = jobs_of(engine, table, items)
    together = read(engine, jobs)
    for item, job in zip(items, jobs, strict=True):
        expected = plain.model(**plain.inputs(table, item)).logits[0, -1]
        plain.model.model.rope_deltas = None
        alone = read(engine, [job])
        for found in (together, alone):
            assert_close(engine.loaded.model.lm_head(found[job.row.key].last_D), expected)


@torch.inference_mode()
def test_long_segments_in_pieces(
    engine: Engine, plain: Plain, table: MemoryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of 16 queries: those of one segment see each other's keys, and none that come later."""
    monkeypatch.setattr("sweep.vlm.engine.prefill._PIECE", 16)
    items = [WorkItem(0, (1, 2)), WorkItem(3, (1, 2)), WorkItem(0, (1,))]
    jobs = jobs_of(engine, table, items)
    states = read(engine, jobs)
    for item, job in zip(items, jobs, strict=True):
        assert_close(engine.loaded.model.lm_head(states[job.row.key].last_D), continued(plain, table, item, []))


@torch.inference_mode()
def test_branches_after_prompts_of_different_lengths(engine: Engine, plain: Plain, table: MemoryTable) -> None:
    """Two branches of two tokens per row, and a row that leaves in between."""
    items = [WorkItem(0), WorkItem(1, (2, 3)), WorkItem(4, (5,))]
    jobs = jobs_of(engine, table, items)
    states = read(engine, jobs)
    tails = Tails(engine.loaded, [states[job.row.key] for job in jobs], capacity=4)
    tokens_BQ = torch.tensor([[7, 8], [9, 10], [11, 12]])
    more_BQ = torch.tensor([[13, 14], [15, 16]])
    own = torch.eye(2, dtype=torch.bool).expand(3, 2, 2)
    first = tails.logits(tails.extend(tokens_BQ, torch.zeros(3, 2, dtype=torch.int64), own))
    kept = torch.tensor([0, 2])
    tails.keep(kept)
    crossed = torch.cat([torch.eye(2, dtype=torch.bool).flip(0), torch.eye(2, dtype=torch.bool)], dim=1).expand(2, 2, 4)
    second = tails.logits(tails.extend(more_BQ, torch.ones(2, 2, dtype=torch.int64), crossed))
    for row, item in enumerate(items):
        for branch in (0, 1):
            expected = continued(plain, table, item, [int(tokens_BQ[row, branch])])
            assert_close(first[row, branch], expected)
    for at, row in enumerate(kept.tolist()):
        for branch in (0, 1):
            path = [int(tokens_BQ[row, 1 - branch]), int(more_BQ[at, branch])]
            assert_close(second[at, branch], continued(plain, table, items[row], path))


def continued(plain: Plain, table: MemoryTable, item: WorkItem, tokens: list[int]) -> Tensor:
    """Plain logits after a prompt and these tokens, computed from nothing."""
    inputs = plain.inputs(table, item)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens], dtype=torch.int64)], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == plain.image_token).int()
    plain.model.model.rope_deltas = None
    logits: Tensor = plain.model(**inputs).logits[0, -1]
    return logits

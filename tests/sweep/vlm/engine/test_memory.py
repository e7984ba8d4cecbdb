"""A device whose memory runs out: a wrapper around the model raises torch's own error above a number of tokens."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from sweep.vlm.engine.devices import watching_memory
from sweep.vlm.engine.engine import Engine
from sweep.vlm.work import Answer, Failure, FailureKind, WorkItem
from tests.sweep.vlm.conftest import Make
from tests.sweep.vlm.engine.test_engine import random_items
from tests.sweep.vlm.models import MemoryTable

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


class Small(nn.Module):
    """The language model of a small device: `prefill` tokens of a packed batch, `rows` of a decode batch."""

    def __init__(self, inner: nn.Module, prefill: int, rows: int = 10**9, error: RuntimeError = FULL) -> None:
        super().__init__()
        self.error = error
        self.inner, self.prefill, self.rows = inner, prefill, rows
        self.embed_tokens = inner.embed_tokens
        self.sizes: list[int] = []

    def forward(self, inputs_embeds: torch.Tensor, **arguments: Any) -> Any:
        rows, tokens = inputs_embeds.shape[:2]
        packed = arguments["past_key_values"].__class__.__name__ == "PackedKeyValues"
        self.sizes.append(tokens if packed else rows)
        if tokens > self.prefill if packed else rows > self.rows:
            raise self.error
        return self.inner(inputs_embeds=inputs_embeds, **arguments)


@pytest.fixture
def items(table: MemoryTable) -> list[WorkItem]:
    return random_items(21, len(table), 24)


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING, "sweep.vlm.engine.devices"):
        yield


def shrunk(engine: Engine, prefill: int, rows: int = 10**9, error: RuntimeError = FULL) -> Small:
    small = Small(engine.loaded.model.model.language_model, prefill, rows, error)
    engine.loaded.model.model.language_model = small
    return small


def test_prefill_batches_are_halved_until_they_fit(
    make: Make, table: MemoryTable, items: list[WorkItem], caplog: pytest.LogCaptureFixture
) -> None:
    expected = Engine(make(), "cpu").answer(table, items)
    engine = Engine(make(batching={"prefill_tokens": 3000}), "cpu")
    small = shrunk(engine, 450)
    assert engine.answer(table, items) == expected
    assert engine.statistics.halvings >= 2
    assert "out of device memory: prefill_tokens from 3000 to " in caplog.text
    before = engine.statistics.halvings
    small.sizes.clear()
    assert engine.answer(table, items) == expected
    assert engine.statistics.halvings == before  # the smaller size is kept
    assert max(small.sizes) <= 450


def test_a_full_gpu_may_say_it_otherwise_and_other_errors_are_raised(
    make: Make, table: MemoryTable, items: list[WorkItem]
) -> None:
    expected = Engine(make(), "cpu").answer(table, items)
    engine = Engine(make(), "cpu")
    shrunk(engine, 450, error=RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
    assert engine.answer(table, items) == expected
    broken = Engine(make(), "cpu")
    shrunk(broken, 450, error=RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        broken.answer(table, items)
    assert not broken._store._sources


def test_the_memory_of_a_failed_attempt_is_free_before_the_device_gives_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensors: list[weakref.ref[torch.Tensor]] = []

    def attempt() -> None:
        large = torch.empty(8)
        tensors.append(weakref.ref(large))
        raise FULL

    gone: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gone.append(tensors[0]() is None))
    with watching_memory(torch.device("cuda")) as ran_out:
        attempt()
    assert ran_out and gone == [True]


def test_decode_batches_are_halved_until_they_fit(
    make: Make, table: MemoryTable, items: list[WorkItem], caplog: pytest.LogCaptureFixture
) -> None:
    expected = Engine(make(), "cpu").answer(table, items, score=True)
    engine = Engine(make(), "cpu")
    shrunk(engine, 10**9, rows=5)
    found = engine.answer(table, items, score=True)
    assert [one.text for one in found] == [one.text for one in expected]  # type: ignore[union-attr]
    assert [one.gt_prob for one in found] == pytest.approx([one.gt_prob for one in expected], rel=1e-3)  # type: ignore[union-attr]
    assert "out of device memory: decode_rows from 64 to " in caplog.text


def test_a_prompt_that_does_not_fit_alone_fails_alone(make: Make, table: MemoryTable) -> None:
    items = [WorkItem(0), WorkItem(1), WorkItem(0, (2, 3, 4, 5, 6, 7, 8, 9)), WorkItem(2)]
    expected = Engine(make(), "cpu").answer(table, items)
    engine = Engine(make(), "cpu")
    shrunk(engine, 250)
    found = engine.answer(table, items)
    assert isinstance(found[2], Failure) and found[2].kind is FailureKind.MEMORY
    assert str(expected[2].prompt_tokens) in found[2].reason  # type: ignore[union-attr]
    assert [found[0], found[1], found[3]] == [expected[0], expected[1], expected[3]]


def test_a_device_on_which_nothing_can_be_decoded(make: Make, table: MemoryTable) -> None:
    engine = Engine(make(), "cpu")
    shrunk(engine, 10**9, rows=0)
    found = engine.answer(table, [WorkItem(0), WorkItem(1)])
    assert [isinstance(one, Failure) and one.kind is FailureKind.MEMORY for one in found] == [True, True]


def test_what_is_held_for_decoding_is_decoded_before_batches_shrink(
    make: Make, table: MemoryTable, items: list[WorkItem], caplog: pytest.LogCaptureFixture
) -> None:
    expected = Engine(make(), "cpu").answer(table, items)
    engine = Engine(make(batching={"prefill_tokens": 400}), "cpu")
    small = shrunk(engine, 10**9)
    reads = 0

    def forward(inputs_embeds: torch.Tensor, **arguments: Any) -> Any:
        nonlocal reads
        packed = arguments["past_key_values"].__class__.__name__ == "PackedKeyValues"
        reads = reads + 1 if packed else 0
        if reads > 3:  # as if three read batches filled the memory
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return small.inner(inputs_embeds=inputs_embeds, **arguments)

    small.forward = forward  # type: ignore[method-assign]
    assert engine.answer(table, items) == expected
    assert "prompts held for decoding from 128 to " in caplog.text
    assert "prefill_tokens" not in caplog.text


def test_vision_batches_are_halved_and_an_image_that_never_fits_fails_alone(
    make: Make, table: MemoryTable, caplog: pytest.LogCaptureFixture
) -> None:
    items = [WorkItem(query) for query in range(8)]
    expected = Engine(make(), "cpu").answer(table, items)
    engine = Engine(make(), "cpu")
    tower = engine.loaded.model.model.visual
    sizes = []
    for item in range(8):
        engine.answer(table, [WorkItem(item)])
        rows, columns = engine._vision.grid(table.image_hash(item))
        sizes.append(4 * rows * columns)
    engine._vision.release()
    bound = sorted(sizes)[-2]

    class SmallEmbedding(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, patches: torch.Tensor) -> Any:
            if len(patches) > bound:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return self.inner(patches)

    tower.patch_embed = SmallEmbedding(tower.patch_embed)
    found = engine.answer(table, items)
    for size, one, other in zip(sizes, found, expected, strict=True):
        if size > bound:
            assert isinstance(one, Failure) and one.kind is FailureKind.MEMORY
        else:
            assert one == other
            assert isinstance(one, Answer)
    assert "vision patches from " in caplog.text

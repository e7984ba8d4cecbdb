"""The engine on a (pretended) card mixes no devices, and answers what it answers on the CPU."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from sweep.vlm.engine.engine import Engine
from tests.card import pretended_card
from tests.sweep.vlm.conftest import Make
from tests.sweep.vlm.engine.test_engine import random_items
from tests.sweep.vlm.models import MemoryTable

WITHOUT_INFERENCE_MODE: Any = Engine.answer.__wrapped__  # type: ignore[attr-defined]


@pytest.mark.parametrize(("beams", "score"), [(1, True), (3, False)])
def test_answers_are_those_of_the_cpu(make: Make, engine: Engine, table: MemoryTable, beams: int, score: bool) -> None:
    items = random_items(beams, len(table), 10)
    settings = make(decoding={"num_beams": beams}, batching={"prefill_tokens": 900, "decode_rows": 4})
    expected = Engine(settings, loaded=engine.loaded).answer(table, items, score)
    with pretended_card() as waits, torch.no_grad():
        model = copy.deepcopy(engine.loaded.model).to("cuda")
        there = Engine(settings, loaded=replace(engine.loaded, model=model, device=torch.device("cuda")))
        found = WITHOUT_INFERENCE_MODE(there, table, items, score)
        assert sum(waits.values()) < 12 * len(items)  # a few per step of a batch, none per prompt and layer
    assert found == expected

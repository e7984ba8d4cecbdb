"""The selector's FLOPs by its configuration are those that torch counts."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from selector.config import SelectorConfig
from selector.flops import BACKWARD, forward_flops
from selector.model import PointerSelector

QUERIES, CANDIDATES, BEAMS, PICKS = 6, 10, 5, 3


@pytest.mark.parametrize("decoder", ["static", "gate"])
@pytest.mark.parametrize("layers", [0, 2])
def test_a_forward_and_a_backward_pass(decoder: str, layers: int) -> None:
    config = SelectorConfig(24, 16, layers, 4, decoder, 0.1, 0.0)
    model = PointerSelector(config)
    beams = torch.stack([torch.randperm(CANDIDATES)[:PICKS] for _ in range(QUERIES * BEAMS)]).view(
        QUERIES, BEAMS, PICKS
    )
    query, pool = torch.randn(QUERIES, 24), torch.randn(QUERIES, CANDIDATES, 24)
    with FlopCounterMode(display=False) as forward:
        encoding = model.encode(query, pool, torch.ones(QUERIES, CANDIDATES, dtype=torch.bool))
        scores = model.step_scores(encoding, beams)
    folded = 2 * config.hidden**2 * config.width  # once per batch
    per_query = (forward.get_total_flops() - folded) / QUERIES
    assert per_query == forward_flops(config, CANDIDATES, BEAMS, PICKS)
    with FlopCounterMode(display=False) as backward:
        scores[scores.isfinite()].sum().backward()
    assert 0.3 * forward.get_total_flops() < backward.get_total_flops() <= BACKWARD * forward.get_total_flops()

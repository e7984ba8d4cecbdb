"""What frozen policies compute once is what they would compute for every batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from selector.batches import EpochNoise
from selector.denormals import are_flushed, flushed_denormals
from selector.model import PointerSelector
from selector.training import GrpoStage, RceStage, frozen
from selector.training.frozen import CandidateTable, FrozenPolicy, PoolRows, equal_weights
from selector.training.stage import EpochMeans, copy_weights
from tests.selector.worlds import (
    deterministic,
    evaluator,
    in_double,
    make_dataset,
    make_settings,
    replace_columns,
    shake,
    tensors_of,
)

DATASET = make_dataset()
EVALUATE = evaluator(DATASET, metric="listwise")
CASES: dict[str, dict[str, Any]] = {
    "gate": {},
    "static, two layers": {"model": {"decoder": "static", "layers": 2}},
    "no layer, no dropout": {"model": {"layers": 0, "dropout": 0.0}},
    "frozen, refresh 2": {"grpo": {"freeze_backbone": True, "old_policy_refresh": 2}},
}


def make_stage(sections: dict[str, Any]) -> GrpoStage:
    settings, data = make_settings(**sections), tensors_of(DATASET)
    reference = shake(RceStage(settings, data, EVALUATE).model, seed=4)
    return GrpoStage(settings, data, EVALUATE, copy_weights(reference))


def numbers(stage: GrpoStage) -> list[dict[str, Any]]:
    """Of all epochs, flat and without what is always the same text."""
    rows = [deterministic(report) for report in stage]
    return [{key: value for key, value in row.items() if isinstance(value, float)} for row in rows]


@pytest.mark.parametrize("sections", CASES.values(), ids=CASES)
def test_a_table_that_has_no_room_changes_nothing(sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses agree to 1e-6, which is single precision behind a temperature of 0.1."""
    kept = numbers(make_stage(sections))
    monkeypatch.setattr(frozen, "LARGEST_TABLE", 0)
    for row, expected in zip(numbers(make_stage(sections)), kept, strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("sections", CASES.values(), ids=CASES)
def test_every_policy_says_what_its_encoding_says(sections: dict[str, Any]) -> None:
    stage = make_stage(sections)
    in_double(stage)
    batch = stage.data.batch(stage.queries[3:9])
    model = stage.settings.model
    noise = EpochNoise(stage.queries, model.layers + 1, model.hidden, model.dropout, "same")
    masks = noise.masks(batch)
    encoding = stage.reference.encode(batch.query_BD, batch.cand_BKD, batch.cand_mask_BK, masks)
    expected = stage.reference.step_log_probs(encoding, batch.beams_BNS)
    for epochs in (1, 3):
        found = FrozenPolicy(stage.reference, PoolRows(stage.data, stage.queries), epochs).log_probs(batch, masks)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        assert not found.requires_grad


@pytest.mark.parametrize(("refresh", "tables"), [(1, 4), (2, 2), (9, 1)])
def test_candidates_are_projected_once_for_each_frozen_policy(
    refresh: int, tables: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four epochs with the reference and an old policy of every refresh but the first. All else is the policy's."""
    projected: Counter[bool] = Counter()
    plain = PointerSelector.project

    def counted(self: PointerSelector, candidates: torch.Tensor) -> torch.Tensor:
        projected[candidates.dim() == 2] += 1  # a part of a table, else a batch
        return plain(self, candidates)

    stage = make_stage({"grpo": {"epochs": 4, "old_policy_refresh": refresh}})
    monkeypatch.setattr(PointerSelector, "project", counted)
    monkeypatch.setattr(stage, "evaluate", lambda model: EVALUATED)
    EVALUATED = EVALUATE(stage.model)
    projected.clear()
    list(stage)
    updates = 4 * -(-len(stage.queries) // stage.options.batch_size)
    assert projected == {True: tables, False: updates}


def test_with_a_frozen_backbone_the_policy_projects_no_batch_and_a_restored_one_no_old_table() -> None:
    stage = make_stage({"grpo": {"freeze_backbone": True, "epochs": 2}})
    list(stage)
    batch = stage.data.batch(stage.queries[:5])
    state = stage.state()
    stage.load_state(state)
    assert stage._candidates is not None
    torch.testing.assert_close(stage._candidates(batch), stage.model.project(batch.cand_BKD), rtol=0, atol=1e-6)
    assert not stage._candidates(batch).requires_grad
    other = shake(make_stage({"grpo": {"freeze_backbone": True}}).model, seed=5)
    moved = {f"model/{name}": value for name, value in copy_weights(other).items()}
    stage.load_state(replace(state, tensors=state.tensors | moved))
    torch.testing.assert_close(stage._candidates(batch), other.project(batch.cand_BKD), rtol=0, atol=1e-6)


def test_a_table_holds_each_item_once() -> None:
    data = tensors_of(DATASET)
    rows = PoolRows(data, np.array([4, 9, 2]))
    pools = [DATASET.pool_items[DATASET.pool_starts[q] : DATASET.pool_starts[q + 1]] for q in (2, 4, 9)]
    assert rows.items_U.tolist() == sorted(set(np.concatenate(pools).tolist()))
    table = CandidateTable(make_stage({}).model, rows)
    table(data.batch(np.array([9])))
    assert table._unit_UH is not None
    assert len(table._unit_UH) == len(rows.items_U)


def test_equal_weights() -> None:
    one, other = make_stage({}).model, make_stage({}).model
    assert equal_weights(one, other)
    with torch.no_grad():
        other.cand_proj.weight[-1, -1] += 1e-6
    assert not equal_weights(one, other)
    with torch.no_grad():
        for model in (one, other):
            model.cand_proj.weight[-1, -1] = torch.nan
    assert not equal_weights(one, other)


# Denormal numbers -----------------------------------------------------------------------------------------------------


def test_denormal_numbers_are_flushed_while_an_epoch_is_trained_and_not_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not are_flushed()
    stage = make_stage({"grpo": {"epochs": 1}})
    seen = []
    update = stage._update
    monkeypatch.setattr(stage, "_update", lambda *batch: seen.append(are_flushed()) or update(*batch))
    for _ in stage:
        assert not are_flushed()  # whoever iterates has the flag as it was
    assert set(seen) == {True}
    with flushed_denormals(), flushed_denormals():
        pass
    assert not are_flushed()
    with pytest.raises(KeyError), flushed_denormals():
        raise KeyError
    assert not are_flushed()


def test_two_dead_columns_of_embeddings_give_denormal_gradients_and_flushing_them_changes_no_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the MiniLM embeddings of OK-VQA: two columns of values around 1e-33."""
    embeddings = DATASET.embeddings.copy()
    embeddings[:, [3, 8]] *= 1e-37
    dataset = replace_columns(DATASET, embeddings=embeddings)
    stage = RceStage(make_settings(), tensors_of(dataset), evaluator(dataset, metric="listwise"))
    noise = EpochNoise(stage.queries, 2, 24, 0.5, "x")
    stage._update(stage.data.batch(stage.queries[:6]), noise, EpochMeans()).backward()
    gradient = stage.model.input_proj.weight.grad
    assert gradient is not None
    assert ((gradient != 0) & (gradient.abs() < 1.2e-38)).sum() > 5
    flushed = [deterministic(r) for r in RceStage(make_settings(), stage.data, stage.evaluate)]
    monkeypatch.setattr(torch, "set_flush_denormal", lambda flag: False)
    assert [deterministic(r) for r in RceStage(make_settings(), stage.data, stage.evaluate)] == flushed

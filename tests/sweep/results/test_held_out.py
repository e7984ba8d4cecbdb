"""The comparison on test queries: baselines that are what they say, and intervals that cover."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from selector.batches import TensorData
from selector.data import DataSettings, Split, load
from selector.data.settings import DemoSettings, SplitSettings
from selector.data.synthetic import TOPICS, demo_dataset, demo_world
from selector.model import PointerSelector
from selector.settings import Decoder, TrialSettings, ValidationSettings
from selector.training import Training
from sweep.report.held_out import held_out_table
from sweep.results.held_out import compare, row_dict, similarity_selector
from sweep.terminal.console import Screen

DEMO = DemoSettings(items=300, queries=60)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_can_be_learned_whatever_its_seed(seed: int) -> None:
    """The demo's promise: a trained selector beats random and similarity on queries it has never seen."""
    settings = DataSettings(demo=DemoSettings(seed=seed))
    dataset = load(settings)
    training = Training(
        TrialSettings.model_validate(
            {
                "model": {"hidden": 64},
                "rce": {"epochs": 4, "lr": 8e-4},
                "grpo": {"epochs": 5, "lr": 1e-3, "kl_beta": 0.3},
            }
        ),
        dataset,
    )
    list(training)
    rows = {row.name: row for row in compare(dataset, settings, ValidationSettings(), {"trained": training.model})}
    for baseline in ("random", "similarity"):
        assert rows["trained"].accuracy is not None and rows[baseline].accuracy is not None
        assert rows["trained"].accuracy[1] > rows[baseline].accuracy[1] + 0.15
    gain = rows["trained"].accuracy_gain
    assert gain is not None and gain.low > 0 and gain.is_sure, "and not by noise"
    for baseline in ("random", "similarity"):
        assert rows["trained"].preferred > rows[baseline].preferred + 0.1
        assert rows["trained"].agreement > rows[baseline].agreement + 0.1
    assert rows["random"].accuracy is not None and rows["random"].accuracy[1] < 0.2


def test_similarity_is_cosine_and_random_orders_nothing() -> None:
    dataset = demo_dataset(DEMO, SplitSettings())
    data = TensorData(dataset, torch.device("cpu"))
    batch = data.batch(dataset.indices(Split.TEST))
    model = similarity_selector(dataset.width)
    encoding = model.encode(batch.query_BD, batch.cand_BKD, batch.cand_mask_BK)
    cosine = torch.nn.functional.cosine_similarity(batch.query_BD[:, None], batch.cand_BKD, dim=-1)
    expected = cosine.masked_fill(~batch.cand_mask_BK, -2).topk(2).indices
    assert torch.equal(model.unroll(encoding, 2), expected)
    starts, rewards = dataset.beam_starts, sum(dataset.outcomes[name] for name in list(dataset.outcomes)[:2])
    means = [np.mean(rewards[starts[query] : starts[query + 1]]) for query in dataset.indices(Split.TEST)]
    random = compare(dataset, DataSettings(demo=DEMO), ValidationSettings(), {})[0]
    assert random.preferred == pytest.approx(np.mean(means), abs=1e-5) and random.agreement == 0.5


def test_without_a_test_split_there_is_nothing_to_compare() -> None:
    settings = DataSettings(demo=DemoSettings(items=300, queries=60), split=SplitSettings(test=0.0))
    assert compare(load(settings), settings, ValidationSettings(), {}) == []


def test_the_rule_of_the_demo_world() -> None:
    world = demo_world(DemoSettings(items=400, queries=20))
    query = 0
    same_topic = np.flatnonzero((world.topic == world.topic[query]) & (world.kind != world.kind[query]))[:1]
    same_kind = np.flatnonzero((world.kind == world.kind[query]) & (world.topic != world.topic[query]))[:1]
    neither = np.flatnonzero((world.kind != world.kind[query]) & (world.topic != world.topic[query]))[:1]
    shown = {
        1.0: np.concatenate([same_topic, same_kind]),
        0.3: np.concatenate([same_topic, neither]),
        0.0: np.concatenate([same_kind, neither]),
    }
    for accuracy, demonstrations in shown.items():
        outcome = world.outcomes(np.array([query]), demonstrations[None])
        assert outcome["vqa_acc_score"] == pytest.approx(accuracy)
        assert outcome["vqa_correct"] == (accuracy >= 0.6)
    assert world.topic.max() == TOPICS - 1


def test_a_policy_that_selects_the_same_differs_by_zero_but_not_for_sure() -> None:
    settings = DataSettings(demo=DemoSettings(items=300, queries=60))
    dataset = load(settings)
    same = compare(dataset, settings, ValidationSettings(), {"same": similarity_selector(dataset.width)})[-1]
    for gain, most in ((same.accuracy_gain, 1.0), (same.preferred_gain, 2.0), (same.agreement_gain, 1.0)):
        assert gain is not None and not gain.is_sure
        assert gain.value == gain.error == 0 and -most < gain.low < 0 < gain.high < most


def test_questions_about_one_image_are_one_unit() -> None:
    settings = DataSettings(demo=DemoSettings(items=300, queries=60))
    dataset = load(settings)
    asked = dataset.query_items[dataset.indices(Split.TEST)]
    images = [0 if item in asked else None for item in range(len(dataset.embeddings))]
    alone, together = (compare(dataset, settings, ValidationSettings(), {}, known)[0] for known in (None, images))
    for gains in ((alone.accuracy_gain, together.accuracy_gain), (alone.preferred_gain, together.preferred_gain)):
        widths = [gain.high - gain.low for gain in gains if gain is not None]
        assert len(widths) == 2 and widths[1] > 2 * widths[0], "one image says little"


def test_collected_data_without_contrast_in_the_test_split_still_has_its_table() -> None:
    dataset = demo_dataset(DemoSettings(items=300, queries=60), SplitSettings())
    in_test = np.repeat(dataset.split == Split.TEST, np.diff(dataset.beam_starts))
    outcomes = {name: np.where(in_test, np.float32(0), values) for name, values in dataset.outcomes.items()}
    rows = compare(
        replace(dataset, outcomes=outcomes), DataSettings(path=Path("collected.json")), ValidationSettings(), {}
    )
    assert [row.name for row in rows] == ["random", "similarity"]
    assert all(row.accuracy is None and np.isnan(row.agreement) and row.preferred == 0 for row in rows)
    console = Screen(file=io.StringIO(), width=160)
    console.print(held_out_table(rows))
    assert isinstance(console.file, io.StringIO) and "undefined" in console.file.getvalue()
    assert row_dict(rows[0])["test_order_agreement"] is None


TRAINED = TrialSettings.model_validate(
    {"model": {"hidden": 32}, "rce": {"epochs": 1, "lr": 1e-3}, "grpo": {"epochs": 1}}
)


@pytest.mark.parametrize("decoder", ["static", "gate"])
@pytest.mark.parametrize("temperature", [1e-4, 0.05, 0.2, 3.0, 1e9])
def test_no_temperature_changes_a_row(decoder: Literal["static", "gate"], temperature: float) -> None:
    settings = DataSettings(demo=DEMO)
    dataset = load(settings)
    training = Training(TRAINED.replace(model=TRAINED.model.replace(decoder=Decoder(decoder))), dataset)
    list(training)
    other = PointerSelector(replace(training.model.config, temperature=temperature)).eval()
    other.load_state_dict(training.model.state_dict())
    policies = {
        "similarity again": similarity_selector(dataset.width, temperature),
        "trained": training.model.eval(),
        "at another temperature": other,
    }
    rows = [replace(row, name="") for row in compare(dataset, settings, ValidationSettings(), policies)]
    _, similarity, again, trained, changed = rows
    assert changed == trained != similarity
    assert (again.preferred, again.agreement, again.accuracy) == (
        similarity.preferred,
        similarity.agreement,
        similarity.accuracy,
    )
    assert again.preferred_gain is not None and again.preferred_gain.value == again.preferred_gain.error == 0

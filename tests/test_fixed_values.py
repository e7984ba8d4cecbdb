"""Values that stored runs depend on: splits, orders, draws and hashes. They never change.

A change would divide data anew, name other artifacts, or ask again what was answered. Random numbers are numpy's, and
numpy keeps its streams.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from selector.batches import EpochNoise
from selector.data.dataset import Dataset, Outcome
from selector.data.embeddings import unit_rows
from selector.data.settings import DemoSettings, SplitSettings
from selector.data.split import assign_splits
from selector.data.synthetic import demo_dataset
from selector.seeds import derive_seed, derive_seed32
from selector.settings import TrialSettings, ValidationMetric, ValidationSettings
from sweep.collect.digest import collect_digest, embeddings_hash
from sweep.collect.proposers import sampled, score_policy
from sweep.collect.queries import build_queries, choose_queries
from sweep.demo.world import make_world
from sweep.evaluation.bootstrap import ACCURACIES, Bootstrap
from sweep.evaluation.questions import choose_questions
from sweep.evaluation.rows import select_randomly
from sweep.settings.collect import BuildSettings, CollectSettings, PoolBy, PoolSettings
from sweep.settings.demo import WorldSettings
from sweep.settings.evaluation import SplitName
from sweep.settings.vlm import ModelSettings, VlmSettings
from sweep.space import parse_space
from sweep.storage.hashes import canonical_hash, file_hash, remembered_file_hash
from sweep.study.slots import grid_points
from sweep.study.summaries import configuration_key
from sweep.trials.rce_store import RceKey
from sweep.vlm.keys import answer_key, score_key
from sweep.vlm.work import WorkItem
from tests.sweep.items.builders import official
from tests.sweep.vlm.models import MemoryTable

DEMO = DemoSettings(items=200, queries=40)


def short(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<i8").tobytes()).hexdigest()[:16]


def tiny() -> Dataset:
    """Two queries over four items, as a few numbers that no machine rounds."""
    return Dataset(
        embeddings=np.arange(12, dtype=np.float32).reshape(4, 3),
        query_items=np.array([0, 3]),
        pool_items=np.array([1, 2, 1, 2]),
        pool_starts=np.array([0, 2, 4]),
        beam_picks=np.array([[0], [1], [1]]),
        beam_starts=np.array([0, 2, 3]),
        outcomes={
            Outcome.CORRECT: np.array([0, 1, 1], dtype=np.float32),
            Outcome.ACC_SCORE: np.array([0.25, 1, 0.5], dtype=np.float32),
        },
        split=np.array([0, 1], dtype=np.int8),
    )


# --- Seeds, orders and draws -----------------------------------------------------------------------------------------


def test_seeds() -> None:
    assert derive_seed(0, "grpo", 3) == 8280154755234845053
    assert derive_seed32(0, 7, "joint") == 2367387389


def test_splits_and_orders() -> None:
    split = assign_splits(np.arange(50), SplitSettings(seed=3))
    assert "".join(map(str, split.tolist())) == "00000100010020000002000022020001021110002000201100"
    assert choose_queries(np.arange(100, 150), 8, 5).tolist() == [111, 116, 123, 128, 138, 142, 144, 146]
    questions = choose_questions(demo_dataset(DEMO, SplitSettings(val=0.3, test=0.3)), SplitName.TEST, None, 2)
    assert questions.items_Q.tolist() == [49, 120, 160, 19, 56, 125, 165, 140, 47, 85, 65, 11]
    picks_DQS = select_randomly(questions, 2, 2, 4).picks_DQS
    assert picks_DQS[:, :3].tolist() == [[[184, 92], [199, 38], [30, 49]], [[38, 188], [38, 113], [195, 180]]]


def test_training_order() -> None:
    order = EpochNoise(np.arange(12), 1, 4, 0.0, 0, "grpo", 2).order
    assert order.tolist() == [11, 2, 0, 6, 10, 7, 4, 8, 1, 3, 5, 9]


def test_made_data() -> None:
    made = demo_dataset(DEMO, SplitSettings())
    parts = (made.query_items, made.pool_items, made.beam_picks, made.split)
    assert [short(part) for part in parts] == [
        "25612443e97fd36c",
        "bb73476276e9cce3",
        "ba785c294f27b673",
        "f0a9d6e5e411c706",
    ]
    world = make_world(WorldSettings(demonstrations=200, train=8, val=4, test=4))
    parts = (world.concept, world.kind, world.image, np.concatenate(world.pools))
    assert [short(part) for part in parts] == [
        "686bc26e91cfcd56",
        "6dbf05620e9024fd",
        "a51a8bce832a85b2",
        "a291f759b957e20d",
    ]
    assert world.lexicon.names[:3] == ("finbal", "durbir", "berzox")
    assert world.answers[1] == (*["lengul"] * 3, *["volfil"] * 2, *["lengul"] * 5)


def test_pools_and_beams() -> None:
    unit = unit_rows(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    settings = BuildSettings(count=20, pool=PoolSettings(size=6))
    queries = build_queries(settings, np.arange(60) // 2, np.ones(60, dtype=bool), {PoolBy.SIMILARITY: unit}, 1)
    assert queries.pool(0).tolist() == [32, 16, 52, 56, 55, 58]
    assert (short(queries.pool_items), short(queries.split)) == ("2544c622182d411b", "e8741c2331a664b7")
    drawn = sampled(score_policy(np.zeros(5)), 2, 0, 17, "random")
    assert [next(drawn) for _ in range(4)] == [(0, 2), (3, 4), (4, 0), (2, 0)]


def test_grid() -> None:
    space = parse_space(
        """
name: grid
parameters:
  grpo.kl_beta: {type: categorical, choices: [0.1, 0.2, 0.3]}
  grpo.lr: {type: categorical, choices: [0.001, 0.01]}
sampler: {type: grid}
seed: 4
""",
        "grid.yaml",
    )
    found = [tuple(point.values()) for point in grid_points(space)]
    assert found == [(0.1, 0.01), (0.1, 0.001), (0.3, 0.01), (0.3, 0.001), (0.2, 0.001), (0.2, 0.01)]


def test_bootstrap() -> None:
    found = Bootstrap(np.array([0, 0, 1, 2]), 1000, 5).replicate(np.array([[1.0], [0.0], [1.0], [0.5]]), ACCURACIES)
    assert found.draws_PB[0, :3] == pytest.approx(
        [0.8479024967554003, 0.6853410070082467, 0.643823096203943], abs=1e-12
    )


# --- Hashes ----------------------------------------------------------------------------------------------------------


def test_hashes_of_files_and_values(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"some weights")
    expected = "a0c76a31f14d6cbed530bfac73778a5bb84861b795e8bd5d4c8eee29784fb766"
    assert file_hash(file) == remembered_file_hash(file) == expected
    value = {"b": [1, 2.5, None, "ü"], "a": True}
    expected = "c49793aeda1777a76c0cd55f984037404d57afea492f42ccc19ab417a688762d"
    assert canonical_hash(value) == expected
    assert configuration_key({"grpo.lr": 0.001, "reward.mode": "separated"}) == "115410e70b04"


def test_data_fingerprints(tmp_path: Path) -> None:
    assert tiny().fingerprint() == "5aa46345090ec5fb6ed536163fbdd757561e177b7d7c651300f4d8d7a3e933bb"
    assert embeddings_hash(tiny().embeddings) == "14dd84a8dca56862f63ccf50ae27ef6fed44e2ff7e4f924a134f4290dfef6291"
    table = official(tmp_path)
    assert table.fingerprint() == "e80a57aefae0fda04031391774bb908781cd39ecea5e218626d76ff844a6b5e5"
    assert table.image_hash(0) == "6ff3c64bbc418579986a6e59bbc040c8b2dba2cb4be19364e16cbfa9cebc0973"


def test_keys_of_artifacts_and_answers() -> None:
    key = RceKey.of(TrialSettings(), ValidationSettings(metric=ValidationMetric.LISTWISE), "0" * 64)
    assert key.digest == "9c88a5945cc98d88a73f6a2bb24d49b7cf8af536182f397ff55a3a44c1aede97"
    vlm = VlmSettings(model=ModelSettings(path="somewhere"))
    digest = collect_digest(CollectSettings(), "1" * 64, "2" * 64, vlm, "m@1")
    assert digest == "229d01d5d952cc34ffe4aabe0387d93fcc8f723c2d5ed3effa1cb81dabab6c2e"
    table = MemoryTable(questions=["q0", "q1"], all_answers=[("a0", "b0"), ("a1",)], images=[b"image 0", b"image 1"])
    item = WorkItem(0, (1,))
    known = "24df9c7a4dc71d5f23fa9823cd3058f1e448d7e1b0ef738c44585dc0546142e9"
    assert answer_key("m@1", vlm, table, item, "cpu") == known
    assert score_key(table, item) == "d49c6fa06b7aa2816f90b56a9023b8cc0e968a7daf6b9d60cfc5a10365acda54"

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selector.data import DataSettings, Outcome, Split, describe, load
from selector.data.native import read_native, write_native
from tests.selector.data.builders import dataset, rl_data, store

REAL = Path(__file__).parents[4] / "shared" / "data" / "okvqa"
needs_real_data = pytest.mark.skipif(not (REAL / "rl_data.json").exists(), reason="no ../shared/data/okvqa")


def summary_by_correct_and_acc(data):
    return describe(data, data.outcomes[Outcome.CORRECT] + data.outcomes[Outcome.ACC_SCORE])


@needs_real_data
def test_okvqa_as_a_folder(tmp_path):
    data = load(DataSettings(path=REAL))
    found = summary_by_correct_and_acc(data)
    assert found.queries == {Split.TRAIN: 1400, Split.VAL: 300, Split.TEST: 300}
    assert (found.items, found.width, found.picks, found.beams) == (14055, 384, 2, 40000)
    assert (found.group_sizes.minimum, found.group_sizes.maximum) == (20, 20)
    assert (found.pool_sizes.minimum, found.pool_sizes.maximum) == (64, 64)
    assert sum(found.zero_variance_groups.values()) == 1227
    assert found.positive_beams_share == pytest.approx(0.07, abs=0.005)
    assert found.positive_groups_share == pytest.approx(0.39, abs=0.005)
    assert found.counts == {}
    write_native(data, tmp_path / "native", "okvqa")
    assert read_native(tmp_path / "native").fingerprint() == data.fingerprint() == found.fingerprint


@needs_real_data
def test_okvqa_with_groups_of_different_sizes():
    found = summary_by_correct_and_acc(load(DataSettings(path=REAL / "rl_data_variable_beams.json")))
    assert sum(found.queries.values()) == 620
    assert (found.group_sizes.minimum, found.group_sizes.maximum) == (11, 40)
    assert sum(found.zero_variance_groups.values()) == 398


def test_a_folder_and_its_file_are_the_same(tmp_path):
    path = store(tmp_path, rl_data())
    expected = load(DataSettings(path=path)).fingerprint()
    (tmp_path / "val_pools.json").write_text('{"1": [2, 3]}')
    assert load(DataSettings(path=tmp_path)).fingerprint() == expected
    path.rename(tmp_path / "okvqa.json")
    assert load(DataSettings(path=tmp_path)).fingerprint() == expected  # found by its content among two JSON files
    (tmp_path / "val_pools.json").unlink()
    assert load(DataSettings(path=tmp_path)).fingerprint() == expected
    (tmp_path / "embeddings.pth").rename(tmp_path / "features.pth")
    assert load(DataSettings(path=tmp_path, embeddings=tmp_path / "features.pth")).fingerprint() == expected


def test_the_order_of_queries_in_the_file_does_not_move_them_between_splits(tmp_path):
    content = rl_data()
    one = load(DataSettings(path=store(tmp_path / "a", content)))
    two = load(DataSettings(path=store(tmp_path / "b", dict(reversed(content.items())))))
    pairs = [dict(zip(data.query_items.tolist(), data.split.tolist(), strict=True)) for data in (one, two)]
    assert pairs[0] == pairs[1]


def test_no_path_means_the_demo_data():
    data = load(DataSettings())
    assert data.fingerprint() == load(DataSettings()).fingerprint()
    assert all(len(data.indices(split)) > 0 for split in Split)


def test_summary_numbers():
    found = describe(dataset(), np.array([1, 1, 0.5, 0, 0, 2], dtype=np.float32))
    assert found.queries == {Split.TRAIN: 1, Split.VAL: 1, Split.TEST: 1}
    assert found.zero_variance_groups == {Split.TRAIN: 1, Split.VAL: 1, Split.TEST: 0}
    assert found.zero_variance_share == {Split.TRAIN: 1.0, Split.VAL: 1.0, Split.TEST: 0.0}
    assert (found.group_sizes.minimum, found.group_sizes.median, found.group_sizes.maximum) == (1, 2.0, 3)
    assert (found.pool_sizes.minimum, found.pool_sizes.median, found.pool_sizes.maximum) == (2, 3.0, 4)
    assert found.positive_beams_share == 0.5
    assert found.positive_groups_share == pytest.approx(2 / 3)
    assert found.outcomes == (Outcome.CORRECT,)
    assert found.positives_by == "vqa_correct is 1"


def test_without_correctness_a_positive_is_a_reward_above_zero():
    data = dataset(outcomes={Outcome.BEAM_SCORE: np.zeros(6, np.float32)}, split=np.array([0, 0, 1], np.int8))
    found = describe(data, np.array([-1, 2, 0, 0, 0, 0], dtype=np.float32))
    assert found.positive_beams_share == pytest.approx(1 / 6)
    assert found.positive_groups_share == pytest.approx(1 / 3)
    assert found.zero_variance_share == {Split.TRAIN: 0.5, Split.VAL: 1.0, Split.TEST: 0.0}
    assert found.positives_by == "reward above 0"
    with pytest.raises(ValueError, match="6 beams"):
        describe(data, np.zeros(5, np.float32))


def test_the_fingerprint_sees_every_value(tmp_path):
    def fingerprint(**settings):
        return load(DataSettings(path=store(tmp_path, content), **settings)).fingerprint()

    content = rl_data()
    first = content["3"]["pointer_candidates"][0]
    seen = [fingerprint(), fingerprint(split={"val": 0.4})]
    first["vqa_gt_prob"] = 0.5
    seen.append(fingerprint())
    content["3"]["candidate_pool_ids"][5] = 20
    seen.append(fingerprint())
    first.update(pointer=first["pointer"][::-1], pointer_global=first["pointer_global"][::-1])
    seen.append(fingerprint())
    first["gen_method"] = "a field that training does not see"
    assert fingerprint() == seen[-1]
    content.pop("2")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen) == 6

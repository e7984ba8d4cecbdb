"""What a data set can teach, against counting by hand and against what training reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selector.data import Outcome, Split
from selector.data.description import describe_data
from selector.data.native import Note, write_native
from selector.errors import DataError
from selector.reports import Stage
from selector.rewards import compute_rewards
from selector.settings import AdvantageMode, RewardMode, RewardSettings
from selector.training import train
from tests.selector.worlds import make_dataset, make_settings

DATASET = make_dataset(queries=40)


@pytest.mark.parametrize("mode", [mode for mode in RewardMode if mode is not RewardMode.LEGACY])
def test_rewards_and_contrast_are_those_of_counting(mode: RewardMode) -> None:
    (found,) = (one for one in describe_data(DATASET).modes if one.mode is mode)
    rewards = compute_rewards(DATASET.outcomes, RewardSettings(mode=mode)).astype(float)
    assert found.mean == pytest.approx(rewards.mean()) and found.levels == len(set(rewards.tolist()))
    assert found.quantiles == pytest.approx(np.quantile(rewards, [0, 0.25, 0.5, 0.75, 1]))
    groups = np.split(rewards, DATASET.beam_starts[1:-1])
    for split in Split:
        own = [group for group, of in zip(groups, DATASET.split, strict=True) if of == int(split)]
        assert found.informative is not None
        assert found.informative[split] == sum(np.ptp(group) > 1e-6 for group in own)


@pytest.mark.parametrize("kind", list(AdvantageMode))
@pytest.mark.parametrize("mode", [RewardMode.SEPARATED, RewardMode.HARD01_PLUS_GTPROB])
def test_expected_advantages_are_those_that_training_reports(mode: RewardMode, kind: AdvantageMode) -> None:
    (found,) = (one for one in describe_data(DATASET).modes if one.mode is mode)
    settings = make_settings(reward={"mode": mode.value}, grpo={"advantage": kind.value, "epochs": 1})
    report = next(report for report in train(settings, DATASET) if report.stage is Stage.GRPO)
    assert found.advantage_std is not None
    assert found.advantage_std[kind] == pytest.approx(report.advantage_std, abs=1e-6)


def test_groups_pools_and_proposers(tmp_path: Path) -> None:
    found = describe_data(DATASET)
    correct = DATASET.outcomes[Outcome.CORRECT]
    positives = [int(group.sum()) for group in np.split(correct, DATASET.beam_starts[1:-1])]
    assert found.positives == {count: positives.count(count) for count in sorted(set(positives))}
    sizes = np.diff(DATASET.beam_starts).tolist()
    assert found.group_sizes == {size: sizes.count(size) for size in sorted(set(sizes))} and found.proposers == {}
    pools = [set(pool.tolist()) for pool in np.split(DATASET.pool_items, DATASET.pool_starts[1:-1])]
    assert found.overlap.candidates == len(set.union(*pools))
    assert found.overlap.uses == pytest.approx(sum(map(len, pools)) / found.overlap.candidates)
    pairs = [len(a & b) / len(a | b) for a in pools for b in pools if a is not b]
    assert found.overlap.jaccard == pytest.approx(np.mean(pairs), rel=0.1)
    names = ["random" if number % 3 else "similarity" for number in range(len(correct))]
    write_native(DATASET, tmp_path / "data", "test", {Note.PROPOSER: names, Note.PREDICTION: names})
    counted = {name: names.count(name) for name in ("random", "similarity")}
    assert describe_data(DATASET, tmp_path / "data").proposers == counted


def test_columns_that_are_missing_are_named() -> None:
    only = replace(DATASET, outcomes={Outcome.BEAM_SCORE: DATASET.outcomes[Outcome.ACC_SCORE]})
    with pytest.raises(DataError, match="no reward mode can be computed from the measured beam_score"):
        describe_data(only)
    found = describe_data(replace(DATASET, outcomes={Outcome.CORRECT: DATASET.outcomes[Outcome.CORRECT]}))
    missing = {one.mode: one.missing for one in found.modes}
    assert missing[RewardMode.HARD_ONLY] == () and missing[RewardMode.SOFT_ONLY] == ("vqa_acc_score",)

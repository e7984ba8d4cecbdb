"""Finalists under fresh seeds: what is trained again, how it continues, what is stored."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from selector.batches import TensorData
from selector.data import Dataset
from selector.validation import Evaluator
from sweep.storage.path import StoredPath
from sweep.study import TrialSummary
from sweep.trials.checkpoints import read_manifest
from sweep.trials.finalists import FIRST_FRESH_SEED, Finalist, Retrained, ended, finalists, retrain
from sweep.trials.messages import TrialContext
from sweep.trials.trial import Trial
from tests.sweep.spaces import SETTINGS, context, run_of, small_dataset, trial


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small_dataset()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> TrialContext:
    shared = context(tmp_path_factory.mktemp("run"), dataset)
    list(trial(shared, dataset, number=2))
    return shared


def summary(number: int, value: float, key: str) -> TrialSummary:
    return TrialSummary(
        number=number, state=TrialState.COMPLETE, params={}, value=value, best_value=value, last_step=8,
        reason="", configuration=0, repeat=0, key=key, seed=0, attempt=1, duration=1.0,
    )  # fmt: skip


def parts(shared: TrialContext, dataset: Dataset) -> tuple[TensorData, Evaluator]:
    data = TensorData(dataset, torch.device("cpu"))
    return data, Evaluator(data, shared.validation)


def test_the_best_trial_of_each_configuration_under_seeds_that_no_trial_had(trained: TrialContext) -> None:
    ranked = [summary(2, 0.1, "a"), summary(7, 0.2, "a")]
    found = finalists(run_of(trained), ranked, count=2, seeds=3)
    assert [(one.trial, one.seed) for one in found] == [(2, FIRST_FRESH_SEED + index) for index in range(3)]
    assert all(one.settings.model_copy(update={"seed": 0}) == SETTINGS for one in found)
    assert finalists(run_of(trained), ranked, count=2, seeds=0) == []


def test_a_trial_without_settings_leaves_its_place_to_the_next(
    trained: TrialContext, caplog: pytest.LogCaptureFixture
) -> None:
    found = finalists(run_of(trained), [summary(5, 0.1, "a"), summary(2, 0.2, "b")], count=1, seeds=2)
    assert [one.trial for one in found] == [2, 2]
    assert "trial 5 cannot be trained again" in caplog.text


def checkpoint(of: TrialContext, result: Retrained) -> StoredPath:
    assert result.step is not None
    return run_of(of).finalist(result.trial, result.seed).epoch(result.step)


def test_a_fresh_seed_gives_another_selector_with_its_lineage(trained: TrialContext, dataset: Dataset) -> None:
    one, other = finalists(run_of(trained), [summary(2, 0.1, "a")], count=1, seeds=2)
    first, second = (retrain(trained, run_of(trained), finalist, *parts(trained, dataset)) for finalist in (one, other))
    manifests = [read_manifest(checkpoint(trained, result)) for result in (first, second)]
    assert manifests[0]["sha256"] != manifests[1]["sha256"]
    assert [manifest["seed"] for manifest in manifests] == [one.seed, other.seed]
    assert [manifest["trial"] for manifest in manifests] == [2, 2]
    assert first.val_loss == manifests[0]["metrics"]["val_loss"]
    assert not (run_of(trained).trial(2).root / "result.json").exists(), "the trial itself is untouched"


def test_a_killed_finalist_continues_and_an_ended_one_is_not_trained_again(
    trained: TrialContext, dataset: Dataset, tmp_path: Path
) -> None:
    (finalist,) = finalists(run_of(trained), [summary(2, 0.1, "a")], count=1, seeds=1)
    whole = retrain(trained, run_of(trained), finalist, *parts(trained, dataset))
    killed = context(tmp_path, dataset)
    own = run_of(killed).finalist(finalist.trial, finalist.seed)
    data, evaluate = parts(killed, dataset)
    list(itertools.islice(Trial(killed, run_of(killed), finalist.trial, finalist.settings, data, evaluate, own), 5))
    assert ended(run_of(killed), finalist) is None
    result = retrain(killed, run_of(killed), finalist, data, evaluate)
    manifests = [read_manifest(checkpoint(trained, whole)), read_manifest(checkpoint(killed, result))]
    assert manifests[0]["sha256"] == manifests[1]["sha256"] and result == whole
    assert ended(run_of(killed), finalist) == result
    own.history_file.remove()
    assert retrain(killed, run_of(killed), finalist, data, evaluate) == result
    assert not own.history_file.exists(), "nothing was trained again"


def test_a_finalist_that_diverges_says_so(trained: TrialContext, dataset: Dataset) -> None:
    wild = SETTINGS.model_copy(update={"grpo": SETTINGS.grpo.model_copy(update={"lr": 1e12}), "seed": 5})
    result = retrain(trained, run_of(trained), Finalist(9, wild), *parts(trained, dataset))
    assert result.failure is not None and "diverged" in result.failure

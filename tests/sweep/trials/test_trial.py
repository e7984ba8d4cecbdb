"""A trial on its own, without Ray: what it stores, how it continues, how it ends."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch

from selector import PointerSelector
from selector.data import Dataset, Split
from selector.errors import CheckpointError
from selector.health import Verdict
from selector.settings import TrialSettings
from sweep.storage.local import stored_at
from sweep.trials.checkpoints import check_files, hashes_of, read_checkpoint, read_manifest, write_checkpoint
from sweep.trials.messages import EpochResult
from sweep.trials.stored import step_of
from tests.sweep.spaces import SETTINGS, context, numbers, small_dataset, trial


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small_dataset()


def changed(**sections: object) -> TrialSettings:
    document = SETTINGS.model_dump()
    for name, values in sections.items():
        document[name] = {**document[name], **values} if isinstance(values, dict) else values
    return TrialSettings.model_validate(document)


def test_steps_count_over_both_stages(tmp_path: Path, dataset: Dataset) -> None:
    results = list(trial(context(tmp_path, dataset), dataset))
    assert [result.report.step for result in results] == list(range(1, 9))
    assert [result.report.stage for result in results] == ["rce"] * 3 + ["grpo"] * 5
    assert [result.done for result in results] == [False] * 7 + [True]
    assert all(result.best is None for result in results[:3]), "RCE epochs are shared: they do not compete"


@pytest.mark.parametrize("killed_after", range(1, 8))
def test_a_trial_killed_after_any_epoch_continues_to_the_bit(
    tmp_path: Path, dataset: Dataset, killed_after: int
) -> None:
    whole = list(trial(context(tmp_path / "whole", dataset), dataset))
    shared = context(tmp_path / "killed", dataset)
    first = list(itertools.islice(trial(shared, dataset), killed_after))
    second = list(trial(shared, dataset))
    assert numbers(first) == numbers(whole[:killed_after])
    assert second[0].report == first[-1].report, "the last report is given once more"
    assert numbers(second[1:]) == numbers(whole[killed_after:])
    for folder in (tmp_path / "whole" / "trials/0000/best").iterdir():
        other = tmp_path / "killed" / "trials/0000/best" / folder.name
        assert read_manifest(stored_at(folder))["sha256"] == read_manifest(stored_at(other))["sha256"]
    lines = (tmp_path / "killed/trials/0000/epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 9))


def test_a_half_written_state_does_not_count(tmp_path: Path, dataset: Dataset) -> None:
    shared = context(tmp_path, dataset)
    list(itertools.islice(trial(shared, dataset), 4))
    broken = tmp_path / "trials/0000/resume/step-0009"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half")
    assert next(iter(trial(shared, dataset))).report.step == 4


def test_the_best_epochs_are_kept_with_their_lineage(tmp_path: Path, dataset: Dataset) -> None:
    results = list(trial(context(tmp_path, dataset, keep_epochs=2), dataset))
    grpo = sorted(results[3:], key=lambda result: result.report.val_loss)
    folders = sorted((tmp_path / "trials/0000/best").iterdir())
    assert {step_of(stored_at(folder)) for folder in folders} == {result.report.step for result in grpo[:2]}
    assert results[-1].best is not None and results[-1].best.step == grpo[0].report.step
    for folder in folders:
        weights, manifest = read_checkpoint(stored_at(folder))
        assert manifest["data_fingerprint"] == dataset.fingerprint()
        assert manifest["settings"] == SETTINGS.model_dump(mode="json")
        assert manifest["trial"] == 0 and manifest["seed"] == 0 and manifest["versions"]["torch"] == torch.__version__
        rce = tmp_path / "rce" / manifest["rce"]["digest"]
        assert read_manifest(stored_at(rce))["sha256"] == manifest["rce"]["sha256"]
        model = PointerSelector.from_pretrained(folder)
        assert weights.keys() == model.state_dict().keys()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_manifest_covers_every_other_file_of_its_checkpoint(tmp_path: Path, name: str) -> None:
    folder = stored_at(tmp_path / "step-0001")
    write_checkpoint(folder, {"a": torch.zeros(2)}, {}, {"selector": {"heads": 4}})
    assert {file.name for file in folder.glob("*")} == {"manifest.json", *hashes_of(check_files(folder))}
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content.replace(b"4", b"8") if name == "config.json" else content[:-1] + b"1")
    for read in (check_files, read_checkpoint):
        with pytest.raises(CheckpointError, match=rf"{name}: its SHA-256 is not the one in manifest.json"):
            read(folder)
    (folder / name).remove()
    with pytest.raises(CheckpointError, match=rf"{name}: missing"):
        check_files(folder)


@pytest.mark.parametrize("shots", [None, 4])
def test_the_stored_selector_gives_the_trials_picks(shots: int | None, tmp_path: Path, dataset: Dataset) -> None:
    shared = context(tmp_path, dataset, keep_epochs=1, shots=shots)
    running = trial(shared, dataset)
    results: list[EpochResult] = list(running)
    folder = next((tmp_path / "trials/0000/best").iterdir())
    model = PointerSelector.from_pretrained(folder)
    best = next(result for result in results if result.report.step == step_of(stored_at(folder)))
    same, picks = 0, shots or 2
    assert best.best is not None and best.best.shots == picks
    queries = dataset.indices(Split.VAL)
    reference = PointerSelector(model.config)
    reference.load_state_dict(read_checkpoint(stored_at(tmp_path / "rce" / best.rce_digest))[0])
    for query in queries:
        pool = dataset.pool_items[dataset.pool_starts[query] : dataset.pool_starts[query + 1]]
        embeddings = torch.from_numpy(dataset.embeddings)
        asked, shown = embeddings[dataset.query_items[query]], embeddings[torch.from_numpy(pool)]
        same += bool((model.select(asked, shown, picks) == reference.eval().select(asked, shown, picks)).all())
    assert same / len(queries) == pytest.approx(best.report.agreement_sequence)


def test_equal_rce_settings_share_one_artifact(tmp_path: Path, dataset: Dataset) -> None:
    shared = context(tmp_path, dataset)
    first = list(trial(shared, dataset, 0))
    stamp = (tmp_path / "rce" / first[0].rce_digest / "manifest.json").stat().st_mtime_ns
    second = list(trial(shared, dataset, 1, changed(grpo={"lr": 3e-4})))
    other = list(trial(shared, dataset, 2, changed(rce={"lr": 3e-4})))
    assert first[0].rce_digest == second[0].rce_digest != other[0].rce_digest
    assert numbers(first[:3]) == numbers(second[:3])
    assert (tmp_path / "rce" / first[0].rce_digest / "manifest.json").stat().st_mtime_ns == stamp
    assert len([path for path in (tmp_path / "rce").iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("keep", ["last", "best"])
def test_without_grpo_the_reference_is_what_is_kept(tmp_path: Path, dataset: Dataset, keep: str) -> None:
    shared = context(tmp_path, dataset)
    settings = changed(rce={"keep": keep}, grpo={"epochs": 0})
    for number in (0, 1):  # trains the artifact, then replays it
        results = list(trial(shared, dataset, number, settings))
        losses = [result.report.val_loss for result in results]
        best = results[-1].best
        assert results[-1].done and best is not None
        assert best.val_loss == (losses[-1] if keep == "last" else min(losses))
        folder = tmp_path / f"trials/{number:04d}/best/step-{best.step:04d}"
        stored = read_checkpoint(stored_at(folder))[0]
        artifact = read_checkpoint(stored_at(tmp_path / "rce" / results[0].rce_digest))[0]
        assert all(torch.equal(stored[name], artifact[name]) for name in artifact)


def test_without_rce_grpo_starts_from_the_seed(tmp_path: Path, dataset: Dataset) -> None:
    results = list(trial(context(tmp_path, dataset), dataset, 0, changed(rce={"epochs": 0})))
    assert [result.report.stage for result in results] == ["grpo"] * 5
    assert results[0].report.step == 1


def test_a_diverging_trial_stops_at_once(tmp_path: Path, dataset: Dataset) -> None:
    settings = changed(grpo={"lr": 1e30, "grad_clip": None})
    results = list(trial(context(tmp_path, dataset), dataset, 0, settings))
    assert len(results) == 4, "the first GRPO epoch is the last one"
    assert Verdict.DIVERGED in results[-1].verdicts
    assert results[-1].stop is not None and results[-1].stop.startswith("diverged")
    assert not list((tmp_path / "trials/0000").glob("best/*"))


def test_a_diverged_warm_up_ends_every_trial_that_shares_it(tmp_path: Path, dataset: Dataset) -> None:
    shared = context(tmp_path, dataset)
    settings = changed(rce={"lr": 1e30, "grad_clip": None})
    for number in (0, 1):
        results = list(trial(shared, dataset, number, settings))
        assert len(results) == 1 and Verdict.DIVERGED in results[-1].verdicts


def test_nothing_changed_is_a_no_op_and_can_be_pruned(tmp_path: Path, dataset: Dataset) -> None:
    settings = changed(grpo={"lr": 0.0})
    labelled = list(trial(context(tmp_path / "a", dataset), dataset, 0, settings))
    assert all(Verdict.NO_OP in result.verdicts for result in labelled[3:]) and len(labelled) == 8
    pruned = list(trial(context(tmp_path / "b", dataset, prune_on=("no_op",), patience=2), dataset, 0, settings))
    assert len(pruned) == 5 and pruned[-1].stop == "no_op for 2 epochs"


def test_same_settings_same_numbers_other_seed_others(tmp_path: Path, dataset: Dataset) -> None:
    runs = [
        numbers(list(trial(context(tmp_path / name, dataset), dataset, 0, changed(seed=seed))))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert runs[0] == runs[1] != runs[2]


def test_tensorboard_events_hold_every_epoch_once(tmp_path: Path, dataset: Dataset) -> None:
    shared = context(tmp_path, dataset)
    list(itertools.islice(trial(shared, dataset), 5))
    list(trial(shared, dataset))
    from tensorboardX.proto.event_pb2 import Event

    steps: dict[int, int] = {}
    for file in (tmp_path / "tensorboard/trial-0000").iterdir():
        raw = file.read_bytes()
        while raw:
            length = int.from_bytes(raw[:8], "little")
            event = Event.FromString(raw[12 : 12 + length])
            raw = raw[16 + length :]
            if any(value.tag == "Validation/val_loss" for value in event.summary.value):
                steps[event.step] = steps.get(event.step, 0) + 1
    assert steps == dict.fromkeys(range(1, 9), 1)


def test_a_removed_artifact_is_a_clear_error(tmp_path: Path, dataset: Dataset) -> None:
    shared = context(tmp_path, dataset)
    first = list(itertools.islice(trial(shared, dataset), 4))
    shutil.rmtree(tmp_path / "rce" / first[0].rce_digest)
    from selector.errors import CheckpointError

    with pytest.raises(CheckpointError, match=first[0].rce_digest[:12]):
        list(trial(shared, dataset))

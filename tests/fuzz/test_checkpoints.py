"""Checkpoints, run records, evaluations: whatever is in the files, they load or are refused by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selector.errors import CheckpointError
from selector.model import CONFIG_FILE, WEIGHTS_FILE, PointerSelector
from selector.tensors import read_tensors
from sweep.evaluation.records import read_evaluation
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.storage.hashes import canonical_hash, file_hash
from sweep.storage.local import stored_at
from sweep.trials.checkpoints import MANIFEST_FILE, read_checkpoint, read_manifest, read_reports
from sweep.trials.stored import best_epochs
from sweep.trials.trial import Trial
from tests.fuzz.builders import Good, make_selector
from tests.fuzz.harness import VALUES, altered, budget, held, mutated
from tests.fuzz.mutations import header_of, with_header
from tests.sweep.spaces import trial


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    return Good(tmp_path_factory.mktemp("good"))


def spoiled(folder: Path, name: str, content: bytes) -> Path:
    """A copy of a folder with one file replaced."""
    target = folder.parent / f"spoiled-{folder.name}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    (target / name).write_bytes(content)
    return target


def load_all(folder: Path) -> None:
    held(lambda: read_manifest(stored_at(folder)))
    held(lambda: read_checkpoint(stored_at(folder)))
    held(lambda: PointerSelector.from_pretrained(folder))


@budget()
@given(data=st.data(), name=st.sampled_from((MANIFEST_FILE, WEIGHTS_FILE, CONFIG_FILE)))
def test_bytes_of_an_epoch(good: Good, data: st.DataObject, name: str) -> None:
    content = data.draw(mutated((good.epoch / name).read_bytes()[:200_000]))
    load_all(spoiled(good.epoch, name, content))


@budget()
@given(data=st.data())
def test_damaged_weights_are_never_taken_for_whole(good: Good, data: st.DataObject) -> None:
    original = (good.epoch / WEIGHTS_FILE).read_bytes()
    content = data.draw(mutated(original))
    folder = spoiled(good.epoch, WEIGHTS_FILE, content)
    if content == original:
        return
    with pytest.raises(CheckpointError, match="altered or damaged"):
        read_checkpoint(stored_at(folder))


@budget()
@given(data=st.data(), name=st.sampled_from((MANIFEST_FILE, CONFIG_FILE)))
def test_values_of_an_epoch(good: Good, data: st.DataObject, name: str) -> None:
    content = data.draw(altered(json.loads((good.epoch / name).read_bytes())))
    folder = spoiled(good.epoch, name, json.dumps(content).encode())
    load_all(folder)
    if name == MANIFEST_FILE:
        run = RunPaths.at(folder.parent.parent.parent.parent)
        held(lambda: best_epochs(run, 0))
        held(lambda: [read_manifest(path)["metrics"]["val_loss"] < 0 for path in best_epochs(run, 0)])


@budget(2)
@given(data=st.data())
def test_headers_of_safetensors(good: Good, data: st.DataObject) -> None:
    """The structure is altered, so that the file stays one; every tensor that comes out lies within the file."""
    header, body = header_of((good.epoch / WEIGHTS_FILE).read_bytes())
    file = good.epoch.parent / ".fuzz.safetensors"
    file.write_bytes(with_header(data.draw(altered(header)), body))
    found = held(lambda: read_tensors(file))
    if found is not None:
        assert sum(tensor.numel() * tensor.element_size() for tensor in found.values()) <= len(body)


def test_a_small_file_cannot_claim_its_bytes_many_times(tmp_path: Path) -> None:
    """Half a megabyte of header over 4 MB of data would become 20 GB."""
    entry = {"dtype": "F32", "shape": [2**20], "data_offsets": [0, 2**22]}
    file = tmp_path / WEIGHTS_FILE
    file.write_bytes(with_header({f"tensor {number}": entry for number in range(5000)}, bytes(2**22)))
    with pytest.raises(CheckpointError, match="more than"):
        read_tensors(file)


@pytest.mark.parametrize("changes", [{"hidden": 200_000, "heads": 2}, {"layers": 10**9}, {"width": 10**12}])
def test_a_configuration_cannot_ask_for_more_than_its_weights(good: Good, changes: dict[str, int]) -> None:
    config = json.loads((good.epoch / CONFIG_FILE).read_bytes())
    config["selector"] |= changes
    folder = spoiled(good.epoch, CONFIG_FILE, json.dumps(config).encode())
    with pytest.raises(CheckpointError, match="does not fit the selector's configuration"):
        held(lambda: PointerSelector.from_pretrained(folder)) or PointerSelector.from_pretrained(folder)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, CONFIG_FILE])
@pytest.mark.parametrize("key", ["dtype", "name"])
def test_errors_can_be_printed(tmp_path: Path, name: str, key: str) -> None:
    """JSON may hold half of a surrogate pair, which no terminal takes."""
    folder, half = make_selector(tmp_path), "\ud800"
    header, body = header_of((folder / WEIGHTS_FILE).read_bytes())
    config = json.loads((folder / CONFIG_FILE).read_bytes())
    if key == "dtype":
        header["query_proj.weight"]["dtype"] = config["selector"]["decoder"] = half
    else:
        header[half] = header.pop("cand_proj.weight")
        config["selector"][half] = 1
    content = with_header(header, body) if name == WEIGHTS_FILE else json.dumps(config).encode()
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        PointerSelector.from_pretrained(folder)
    assert "ud800" in str(caught.value) and str(caught.value).encode()


@pytest.mark.parametrize("name", [MANIFEST_FILE, CONFIG_FILE])
def test_nesting_without_end(good: Good, name: str) -> None:
    folder = spoiled(good.epoch, name, b"[" * 100_000)
    with pytest.raises(CheckpointError):
        read_manifest(stored_at(folder)) if name == MANIFEST_FILE else PointerSelector.from_pretrained(folder)


@pytest.mark.parametrize(
    ("which", "changes", "said"),
    [
        ("epoch", {"run": None}, "run is missing"),
        ("epoch", {"run": "\ud800"}, "run is missing or of another type"),
        ("epoch", {"trial": 10**400}, "trial is missing or of another type"),
        ("epoch", {"metrics": {"val_loss": 10**400, "val_reward": 0.5}}, "metrics.val_loss is missing or"),
        ("warm_up", {"reports": ["x"]}, "report 0"),
        ("warm_up", {"kind": "other"}, "kind is not 'rce'"),
        ("state", {"kind": "epoch"}, "kind is not 'resume'"),
        ("state", {"history": [[[[]]]]}, "report 0"),
    ],
)
def test_what_readers_take_from_a_manifest_is_checked(good: Good, which: str, changes: Any, said: str) -> None:
    """What passed here would end a command later, with a traceback."""
    file = getattr(good, which) / MANIFEST_FILE
    original = file.read_bytes()
    try:
        file.write_text(json.dumps(json.loads(original) | changes))
        with pytest.raises(CheckpointError, match=said):
            read_manifest(stored_at(file.parent))
    finally:
        file.write_bytes(original)


def test_numbers_of_reports_are_numbers(good: Good) -> None:
    """Text that looks like a number cannot be compared with one."""
    manifest = json.loads((good.warm_up / MANIFEST_FILE).read_bytes())
    manifest["reports"][1]["val_loss"] = "0.5"
    with pytest.raises(CheckpointError, match=r"report 1\.val_loss"):
        read_reports(manifest["reports"], stored_at(good.warm_up))


def rerun(good: Good) -> None:
    """As a worker that takes up the trial and goes on with it."""
    run = good.paths.root.local()
    copy = run.parent / "rerun"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    results = iter(trial(replace(good.context, run_folder=str(copy)), good.dataset))
    next(results)
    next(results, None)


@budget()
@given(data=st.data(), as_bytes=st.booleans(), which=st.sampled_from(("state", "warm_up")))
def test_states_and_warm_ups(good: Good, data: st.DataObject, as_bytes: bool, which: str) -> None:
    """Also where the hash is right, so that only what the manifest says is wrong."""
    folder: Path = getattr(good, which)
    file = folder / MANIFEST_FILE
    original = file.read_bytes()
    try:
        if as_bytes:
            file.write_bytes(data.draw(mutated(original)))
        else:
            file.write_text(json.dumps(data.draw(altered(json.loads(original)))))
        held(lambda: rerun(good))
        held(lambda: list(good_store(good)))
    finally:
        file.write_bytes(original)


def good_store(good: Good) -> Any:
    from sweep.trials.rce_store import RceStore

    found = trial(good.context, good.dataset)
    assert isinstance(found, Trial)
    return RceStore(good.paths.rce_folder).epochs(found._key, lambda: pytest.fail("it is complete"), {})


@budget()
@given(data=st.data(), as_bytes=st.booleans())
def test_run_records(good: Good, data: st.DataObject, as_bytes: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    original = good.paths.run_file.read_bytes()
    paths = RunPaths(good.paths.root.parent / "fuzzed")
    content = (
        data.draw(mutated(original)) if as_bytes else json.dumps(data.draw(altered(json.loads(original)))).encode()
    )
    paths.run_file.write_bytes(content)
    held(lambda: read_record(paths))


@budget()
@given(content=st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_evaluations(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "evaluation.json"
    file.write_bytes(content)
    assert held(lambda: read_evaluation(stored_at(file))) is None


def test_the_files_are_good_to_begin_with(good: Good) -> None:
    assert isinstance(PointerSelector.from_pretrained(good.epoch), PointerSelector)
    tensors, manifest = read_checkpoint(stored_at(good.epoch))
    assert manifest["sha256"] == file_hash(good.epoch / WEIGHTS_FILE) and all(map(torch.is_tensor, tensors.values()))
    assert len(canonical_hash(manifest)) == 64
    rerun(good)
    assert len(list(good_store(good))) == 3

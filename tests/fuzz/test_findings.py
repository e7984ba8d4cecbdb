"""What fuzzing has found, small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from selector.data import DataSettings, load
from selector.errors import CheckpointError
from selector.model import CONFIG_FILE, WEIGHTS_FILE, PointerSelector
from selector.tensors import read_tensors
from sweep.errors import RunError, SpaceError, StudyError
from sweep.evaluation.records import read_evaluation
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from sweep.study.reading import read_trials
from sweep.study.storage import open_storage, without_password
from sweep.trials.checkpoints import FORMAT, MANIFEST_FILE, read_manifest, read_reports
from sweep.trials.finalists import Finalist, ended
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.checkpoint import ModelError, check_checkpoint
from tests.fuzz.builders import ASKED, Good, make_answers, make_evaluation, make_forms, make_selector
from tests.fuzz.harness import held
from tests.fuzz.mutations import header_of, with_header
from tests.fuzz.readers import used_space
from tests.sweep.spaces import SETTINGS


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


def test_a_part_with_a_damaged_column_name_is_skipped(tmp_path: Path) -> None:
    part = make_answers(tmp_path)
    (tmp_path / "part-1.parquet").write_bytes(part.read_bytes().replace(b"prompt_tokens", b"prompt\xa4tokens"))
    store = AnswerStore(stored_at(tmp_path))
    assert set(store.lookup(ASKED)) == set(ASKED)
    assert [file.name for file in store.skipped] == ["part-1.parquet"]


def test_a_stored_epoch_is_no_warm_up(tmp_path: Path) -> None:
    folder = tmp_path / "best" / "step-0001"
    stored_at(folder / MANIFEST_FILE).write_json({"format": FORMAT, "kind": "rce"})
    with pytest.raises(CheckpointError, match="kind is not 'epoch'"):
        read_manifest(stored_at(folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": []}, "rows are missing"),
        ({"shots": [1]}, "shots are not those"),
        ({"winner": {"row": "x"}}, "a row is named"),
        ({"rows": {"shots": []}}, "other numbers of shots"),
        ({"rows": {"other_metrics": {}}}, "different metrics"),
    ],
)
def test_an_evaluation_that_contradicts_itself_is_damaged(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    content = make_evaluation().model_dump(mode="json")
    for name, value in changes.items():
        if isinstance(value, dict):
            (content[name][-1] if name == "rows" else content[name]).update(value)
        else:
            content[name] = value
    file = stored_at(tmp_path / "evaluation.json")
    file.write_json(content)
    with pytest.raises(RunError, match=f"damaged.*{said}"):
        read_evaluation(file)


@pytest.mark.parametrize("content", [b"[]", b"3", b"[" * 100_000])
def test_a_finalist_with_a_damaged_result_has_not_ended(tmp_path: Path, content: bytes) -> None:
    paths, one = RunPaths.at(tmp_path), Finalist(0, SETTINGS)
    paths.finalist(0, one.seed).result_file.write_bytes(content)
    assert ended(paths, one) is None


@pytest.mark.parametrize("url", ["postgresql+psycopg://u:secret@host:port/db", "sqlite://h:x/db", "sqlite:///a\0b"])
def test_a_storage_that_is_no_url(url: str) -> None:
    with pytest.raises(StudyError) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value) and "secret" not in without_password(url)
    with pytest.raises(StudyError):
        read_trials(url, "x")


def test_a_nested_configuration_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps("x").join(["[" * 100_000, ""]))
    with pytest.raises(ModelError, match="not readable JSON"):
        check_checkpoint(tmp_path)


def test_an_array_that_claims_to_be_larger_than_memory(tmp_path: Path) -> None:
    file = make_forms(tmp_path) / "table.npy"
    file.write_bytes(file.read_bytes().replace(b"(30, 4), }", b"(9999999999, 4), }"))
    assert held(lambda: load(DataSettings(path=tmp_path / "rl" / "rl_data.json", embeddings=file))) is None


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        (
            "parameters: {{grpo.lr: {{type: {}}}}}",
            "f.yaml:2: parameters.grpo.lr: unknown type 'xxx",
            "categorical, fixed",
        ),
        ("pruning_starts: {}", "f.yaml:2: pruning_starts: 'xxx", "after_rce, at_once"),
        ("? {}\n: 1", "f.yaml:2: xxx", "valid keys are"),
        ("seed: *{}", "f.yaml:2: not valid YAML: found undefined alias", "xxx'"),
        ("seed: !{} 1", "f.yaml:2: seed: tag '!xxx", "write a plain value"),
    ],
)
def test_a_long_value_leaves_the_message_short(text: str, begin: str, end: str) -> None:
    with pytest.raises(SpaceError) as caught:
        used_space("name: a\n" + text.format("x" * 1020))
    assert len(str(caught.value)) < 1100
    assert str(caught.value).startswith(begin) and end in str(caught.value)


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
        PointerSelector.from_pretrained(folder)


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
        ("epoch", {"files": {"../../config.json": ""}}, "files names more than config.json"),
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

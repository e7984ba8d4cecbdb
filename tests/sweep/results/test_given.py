"""Selectors from elsewhere, as the weights that trials begin with and as rows of an evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from selector.model import PointerSelector
from selector.tensors import read_tensors
from sweep.errors import RunError, SpaceError
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.plan.make import make_plan
from sweep.plan.plan import CollectionPlan, Plan
from sweep.plan.requests import request_of_run, request_of_space
from sweep.results.export import export
from sweep.results.policies import given_policies
from sweep.results.reproduce import Outcome, reproduce
from sweep.results.trained import trained_in_run
from sweep.results.verify import verify
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.runs.record import read_record
from sweep.settings.evaluation import EvaluationSettings
from sweep.storage.hashes import file_hash
from sweep.storage.local import stored_at
from sweep.trials.checkpoints import read_manifest
from sweep.trials.stored import stored_epochs
from tests.selector.test_lever_plus import Theirs, saved
from tests.sweep.finished import SPACE, finished_run
from tests.sweep.results.changes import plan_of
from tests.sweep.spaces import SMALL

HIDDEN = 16
SAID = {"hidden": HIDDEN, "decoder": "gate", "heads": 1, "temperature": 0.1, "dropout": 0.2}


@pytest.fixture(scope="module")
def width(finished: RunPaths) -> int:
    return PointerSelector.from_pretrained(stored_epochs(finished.trials_folder)[0].local()).config.width


@pytest.fixture(scope="module")
def elsewhere(finished: RunPaths, width: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of Lever-Plus, and an export of ours."""
    folder = tmp_path_factory.mktemp("elsewhere")
    torch.manual_seed(5)
    saved(Theirs(width, HIDDEN, 1, gate=True), folder, "state")
    export(finished, "1", folder / "ours")
    return folder


@pytest.fixture(scope="module")
def run(elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A run of GRPO alone that begins with the file. Both are rows of its evaluation. Then both are gone."""
    folder = tmp_path_factory.mktemp("given")
    shutil.copytree(elsewhere, folder / "named")
    space = yaml.safe_load(SPACE)
    file = str(folder / "named" / "grpo_epoch2.pt")
    space["trial"] |= {"model": SAID, "rce": {"epochs": 0, "reward": {"mode": "hard_plus_soft"}}}
    rows = [
        {"name": "plan 5", "checkpoint": file, "heads": 1},
        {"name": "ours", "checkpoint": str(folder / "named" / "ours")},
    ]
    space |= {"init_from": file, "budget": {"trials": 2}}
    space["evaluation"] = {"shots": 3, "samples": None, "top": 2, "resamples": 1000, "rows": rows}
    paths = finished_run(folder, yaml.safe_dump(space))
    shutil.rmtree(folder / "named")
    return paths


def table_of(paths: RunPaths) -> Evaluation:
    return read_evaluation(paths.evaluation("declared").file)


def test_the_file_is_the_reference_policy_and_its_hash_is_in_every_lineage(run: RunPaths, elsewhere: Path) -> None:
    started = read_record(run).init_from
    assert started is not None
    theirs = torch.load(elsewhere / "grpo_epoch2.pt", weights_only=True)["model_state_dict"]
    warm_ups = [file.parent for file in run.rce_folder.glob("*/manifest.json")]
    assert warm_ups
    for folder in (run.given_folder / started, *warm_ups):
        kept = read_tensors(folder.local() / "model.safetensors")
        assert kept.keys() == theirs.keys() and all(torch.equal(kept[name], theirs[name]) for name in theirs)
    source = read_manifest(run.given_folder / started)["source"]
    assert source["name"] == "grpo_epoch2.pt" and source["sha256"] == file_hash(elsewhere / "grpo_epoch2.pt")
    epochs = stored_epochs(run.trials_folder)
    assert epochs and {read_manifest(one)["init_from"] for one in epochs} == {started}


def test_rows_from_elsewhere_stand_in_the_table_and_never_win(run: RunPaths, elsewhere: Path) -> None:
    table = table_of(run)
    theirs, ours = table.row("plan 5"), table.row("ours")
    assert theirs.kind == ours.kind == "checkpoint" and theirs.mean is not None and ours.minus_baseline is not None
    assert theirs.checkpoint == read_record(run).init_from
    assert ours.checkpoint == file_hash(elsewhere / "ours" / "model.safetensors"), "as in its own run"
    assert table.row("rce_only").same_as == "plan 5", "the reference policy is that file"
    assert table.winner.row is None or table.winner.row.startswith("trial ")


def test_verify_needs_the_runs_own_copies_alone(run: RunPaths, tmp_path: Path) -> None:
    found = verify(run, plan_of)
    assert not found.faults and {"plan 5", "ours"} <= {row.row for row in found.rows}
    shutil.copytree(run.root.local().parent, tmp_path / "runs")
    copy = RunPaths.at(tmp_path / "runs" / "mine")
    weights = copy.given_folder.local() / str(read_record(copy).init_from) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert any(str(read_record(copy).init_from) in fault.file for fault in verify(copy, None).faults)


def test_a_trial_is_reproduced_from_the_runs_copy(run: RunPaths) -> None:
    plan = plan_of(run)
    number = next(int(folder.parent.parent.name) for folder in stored_epochs(run.trials_folder))
    assert reproduce(trained_in_run(run, plan, number), plan.dataset).outcome is Outcome.BIT


def test_a_resumed_run_begins_with_its_copy_and_refuses_another(run: RunPaths) -> None:
    plan = make_plan(request_of_run(run))
    assert plan.init is not None and plan.init.sha256 == read_record(run).init_from


def test_a_row_whose_file_is_gone_is_named(tmp_path: Path, run: RunPaths) -> None:
    settings = EvaluationSettings.model_validate({"rows": [{"name": "a", "checkpoint": str(tmp_path / "no.pt")}]})
    with pytest.raises(SpaceError, match=r"evaluation.rows\[0\] \(a\): .*no.pt: does not exist"):
        given_policies(run, settings)


# Refusals -------------------------------------------------------------------------------------------------------------


def plan_for(folder: Path, checkpoint: Path, **changes: object) -> Plan | CollectionPlan:
    space = yaml.safe_load(SMALL)
    space |= {"init_from": str(checkpoint)}
    for path, value in changes.items():
        section, _, name = path.partition("__")
        space.setdefault(section, {})
        space[section] = {**space[section], name: value} if name else value
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(space))
    return make_plan(request_of_space(str(file), SharedPaths.beside(stored_at(folder / "runs"))))


REFUSED = {
    "heads, temperature, dropout": (
        {"trial__model": {"hidden": HIDDEN}},
        "such a file does not hold heads, temperature, dropout; say them in trial.model",
    ),
    "dropout": (
        {"trial__model": {key: value for key, value in SAID.items() if key != "dropout"}},
        "does not hold dropout; say it in trial.model",
    ),
    "decoder": (
        {"trial__model": {**SAID, "decoder": "static", "hidden": 32}},
        r"which has hidden 32, decoder static; write trial: {model: {hidden: 16, decoder: gate}}",
    ),
    "heads that cannot be": ({"trial__model": {**SAID, "hidden": 15, "heads": 3}}, "16 is not a multiple of heads 3"),
    "a width": ({"trial__model": SAID}, "reads embeddings of width 16, and the data has 48"),
    "a parameter": (
        {"trial__model": SAID, "parameters": {"model.heads": {"type": "categorical", "choices": [1, 2]}}},
        "init_from decides the selector's architecture, so model.heads cannot vary",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_does_not_hold_is_never_guessed(name: str, tmp_path: Path) -> None:
    changes, message = REFUSED[name]
    file = saved(Theirs(16, HIDDEN, 1, gate=True), tmp_path, "state")
    with pytest.raises(SpaceError, match=message) as caught:
        plan_for(tmp_path, file, **changes)
    assert "init_from" in str(caught.value)


def test_a_file_that_is_not_there_is_said_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"space.yaml:\d+: init_from: .*nothing.pt' does not exist"):
        plan_for(tmp_path, tmp_path / "nothing.pt", trial__model=SAID)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "similarity", "checkpoint": "a"}], "a row which an evaluation has by itself"),
        ([{"name": "trial 3", "checkpoint": "a"}], "a row which an evaluation has by itself"),
        ([{"name": "a", "checkpoint": "a"}, {"name": "a", "checkpoint": "b"}], "two rows have the name 'a'"),
        ([{"name": "a\nb", "checkpoint": "a"}], "name"),
    ],
)
def test_rows_have_names_of_their_own(rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluationSettings.model_validate({"rows": rows})


def test_a_strangers_record_leads_nowhere(run: RunPaths, tmp_path: Path) -> None:
    shutil.copytree(run.root.local().parent, tmp_path / "runs")
    copy = RunPaths.at(tmp_path / "runs" / "mine")
    record = read_record(copy)
    copy.run_file.write_json(record.replace(init_from="../../elsewhere").model_dump(mode="json"))
    with pytest.raises((SpaceError, RunError)):
        make_plan(request_of_run(copy))

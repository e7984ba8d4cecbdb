"""Training again what was trained: the trials of a run, its finalists, and an export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from selector.reports import EpochReport
from sweep.plan.make import Answers, make_plan
from sweep.plan.plan import Plan, require_data
from sweep.plan.requests import request_of_run
from sweep.report.reproduction import reproduction_lines
from sweep.results.export import export
from sweep.results.reproduce import Outcome, Reproduction, reproduce
from sweep.results.trained import Trained, trained_in_export, trained_in_run
from sweep.runs.paths import RunPaths
from sweep.trials.stored import best_epochs, step_of
from tests.sweep.commands import Command
from tests.sweep.trees import tree


@pytest.fixture(scope="module")
def plan(finished: RunPaths) -> Plan:
    return require_data(make_plan(request_of_run(finished), Answers.UNUSED))


@pytest.fixture(scope="module")
def trained(finished: RunPaths, plan: Plan) -> Trained:
    return trained_in_run(finished, plan, 0)


@pytest.fixture(scope="module")
def again(finished: RunPaths, trained: Trained, plan: Plan) -> Iterator[Reproduction]:
    before = tree(finished.root.local().parent)
    yield reproduce(trained, plan.dataset)
    assert tree(finished.root.local().parent) == before, "it writes into the run"


def changed(trained: Trained, step: int, by: float) -> Trained:
    """As if an epoch's val_loss had been another."""

    def other(report: EpochReport) -> EpochReport:
        return replace(report, val_loss=report.val_loss + by) if report.step == step else report

    return replace(trained, history=tuple(other(report) for report in trained.history))


def test_a_trial_comes_out_equal_to_the_bit(again: Reproduction, trained: Trained) -> None:
    assert again.outcome is Outcome.BIT and again.is_same and again.warm_up is True
    assert again.epochs == 5 and again.parting is None and again.circumstances == ()
    assert [one.step for one in again.weights] == sorted(trained.stored) and all(one.equal for one in again.weights)
    assert next(reproduction_lines(again)) == "trial 0 of run mine: equal to the bit (5 epochs)"


@pytest.mark.parametrize(
    ("by", "tolerance", "outcome"),
    [(1e-6, 1e-4, Outcome.TOLERANCE), (1e-6, 0.0, Outcome.DIFFERENT), (0.1, 1e-4, Outcome.DIFFERENT)],
)
def test_where_the_curves_part_and_by_how_much(
    trained: Trained, plan: Plan, by: float, tolerance: float, outcome: Outcome
) -> None:
    found = reproduce(changed(trained, 4, by), plan.dataset, tolerance=tolerance)
    assert found.outcome is outcome and found.parting is not None and found.largest is not None
    assert (found.parting.loss.step, found.parting.stage) == (4, "grpo")
    assert [one.where for one in found.parting.numbers] == ["val_loss"]
    assert found.largest.apart == pytest.approx(by / max(1.0, found.largest.then), rel=1e-3)
    text = "\n".join(reproduction_lines(found))
    assert "part at epoch 4 (grpo)" in text and "versions, threads, device and data are what they were" in text


def test_another_seed_another_version_and_other_data_are_told(trained: Trained, plan: Plan) -> None:
    """The seed decides the warm-up, so all is different from the first epoch on."""
    other = replace(
        trained,
        settings=trained.settings.replace(seed=77),
        versions={**trained.versions, "torch": "1.0"},
        compute={key: value for key, value in trained.compute.items() if key != "cpu"},
    )
    found = reproduce(other, plan.dataset)
    assert found.outcome is Outcome.DIFFERENT and not found.is_same and found.warm_up is False
    assert found.parting is not None and found.parting.loss.step == 1
    assert all(one.relative > 1e-3 and one.agreement < 1 for one in found.weights)
    assert [(one.what, one.then) for one in found.circumstances] == [("torch", "1.0"), ("cpu", None)]
    elsewhere = reproduce(replace(trained, fingerprint="0" * 64), plan.dataset)
    assert elsewhere.outcome is Outcome.OTHER_DATA and not elsewhere.is_same and elsewhere.epochs == 0


def test_a_training_that_ends_earlier_now_is_different(trained: Trained, plan: Plan) -> None:
    shorter = trained.settings.grpo.replace(epochs=2)
    found = reproduce(replace(trained, settings=trained.settings.replace(grpo=shorter)), plan.dataset)
    assert found.outcome is Outcome.DIFFERENT and found.largest is not None and found.largest.now is None
    assert "ends before it" in "\n".join(reproduction_lines(found))


def test_the_command_says_it_of_trials_finalists_and_exports(
    finished: RunPaths, plan: Plan, tmp_path: Path, command: Command
) -> None:
    runs = ["--runs", str(finished.root.parent)]
    step = step_of(best_epochs(finished, 0)[-1])
    code, out, error = command("reproduce", "mine", "--trial", "0", "--epoch", str(step), "--json", *runs)
    document = json.loads(out)
    assert code == 0 and document["outcome"] == "bit" and document["epochs"] == step, error
    finalist = finished.finalists_folder.glob("*-seed-*")[0].name
    number, _, seed = finalist.partition("-seed-")
    code, out, _ = command("reproduce", "mine", "--trial", str(int(number)), "--seed", seed, *runs)
    assert code == 0 and f"under the fresh seed {seed} of run mine: equal to the bit" in out
    folder = tmp_path / "exported"
    export(finished, "best", folder)
    assert reproduce(trained_in_export(folder), plan.dataset).outcome is Outcome.BIT
    code, out, _ = command("reproduce", str(folder), "--runs", str(tmp_path))
    assert code == 2, "its run is not there, and nobody has named the data"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(
        json.dumps({**manifest, "seed": 5, "settings": {**manifest["settings"], "seed": 5}})
    )
    code, out, _ = command("reproduce", str(folder), *runs)
    assert code == 1 and "NOT the same" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mine --trial 99", "run mine has no trial 99: it has 0 to"),
        ("mine --trial 0 --seed 3", "under the fresh seed 3"),
        ("mine --trial 0 --epoch 1", "epoch 1 is not stored; stored are"),
        ("mine --trial 0 --tolerance -1", "give a number of 0 or more"),
        ("nothing", "no run 'nothing'"),
    ],
)
def test_what_cannot_be_trained_again_is_said_in_a_line(
    finished: RunPaths, line: str, said: str, command: Command
) -> None:
    code, _, error = command("reproduce", *line.split(), "--runs", str(finished.root.parent))
    assert code == 2 and said in error and error.count("\n") == 1

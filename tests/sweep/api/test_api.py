"""`import sweep` as a notebook uses it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import sweep
from selector import PointerSelector
from sweep.errors import RunError, SpaceError
from sweep.runs.paths import RunPaths
from sweep.space.document import read_document
from tests.sweep.spaces import SMALL

SPACE = read_document(SMALL, "small").value  # YAML 1.2; PyYAML itself takes 1e-3 for a text


@pytest.fixture
def run(good_run: RunPaths) -> sweep.Run:
    return sweep.load_run(good_run.shown)


def test_importing_it_loads_nothing_else() -> None:
    heavy = ["torch", "pydantic", "ray", "rich", "pandas"]
    code = f"import sys, sweep; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(sweep.__all__) <= set(dir(sweep))
    with pytest.raises(AttributeError, match="module 'sweep' has no attribute 'runn'"):
        sweep.runn  # type: ignore[attr-defined]  # noqa: B018


def test_a_run_is_found_by_folder_by_name_and_as_the_newest(good_run: RunPaths, run: sweep.Run) -> None:
    folder = good_run.root.local().parent
    assert sweep.load_run("mine", runs=folder).folder == run.folder == sweep.load_run(runs=folder).folder
    assert (run.name, run.finished, run.verdict, run.evaluation, run.evaluations) == ("mine", False, None, None, {})
    assert run.space.name == "small" and "mine" in repr(run)
    with pytest.raises(RunError, match="no run 'other'; runs in"):
        sweep.load_run("other", runs=folder)
    assert issubclass(RunError, sweep.UserError) and issubclass(SpaceError, sweep.UserError)


def test_trials_as_a_data_frame(run: sweep.Run) -> None:
    frame = run.trials_dataframe()
    assert list(frame["trial"]) == [0] and list(frame["state"]) == ["complete"]
    (trial,) = run.trials
    assert frame["val_loss"][0] == trial.value and frame["params.grpo.lr"][0] == trial.params["grpo.lr"]


def test_curves_as_a_data_frame(run: sweep.Run, good_run: RunPaths) -> None:
    frame = run.curves()
    reports = [json.loads(line) for line in good_run.trial(0).history_file.read_text().splitlines()]
    assert list(frame.columns[:4]) == ["trial", "stage", "epoch", "step"]
    assert list(frame["stage"]) == ["rce", "rce", "grpo", "grpo", "grpo"] and list(frame["epoch"]) == [1, 2, 1, 2, 3]
    assert list(frame["val_loss"]) == [report["val_loss"] for report in reports]
    assert frame["kl"].isna().tolist() == [True, True, False, False, False]
    assert any(name.startswith("parameter_change.") for name in frame.columns)


def test_everything_of_trials_in_one_frame(finished: RunPaths, run: sweep.Run) -> None:
    full = sweep.load_run(finished.shown)
    frame, curves, trials = full.frame(), full.curves(), full.trials_dataframe().set_index("trial")
    assert len(frame) == len(curves) and list(frame.columns[: len(curves.columns)]) == list(curves.columns)
    assert frame["val_loss"].equals(curves["val_loss"])
    for column, own in (("params.grpo.lr", "params.grpo.lr"), ("state", "state"), ("trial_val_loss", "val_loss")):
        expected = [trials[own][number] for number in curves["trial"]]
        assert frame[column].astype(object).where(frame[column].notna(), None).tolist() == [
            None if value != value else value for value in expected
        ]
    assert set(run.frame()["trial"]) == {0}, "of a run without an evaluation too"


def test_a_trial_without_an_epoch_has_a_row(copy: Path) -> None:
    run = sweep.load_run(copy)
    run.paths.trial(3).history_file.remove()
    rows = run.frame().set_index("trial").loc[[3]]
    assert len(rows) == 1 and rows["val_loss"].isna().all() and rows["state"].tolist() == ["pruned"]


def test_the_table_by_answers_and_the_answers_as_frames(finished: RunPaths, run: sweep.Run) -> None:
    full = sweep.load_run(finished.shown)
    evaluation, results, answers = full.evaluation, full.results(), full.answers("declared")
    assert evaluation is not None
    for row in evaluation.rows:
        mine = results[results["row"] == row.name].set_index("shots")
        assert list(mine.index) == [*evaluation.shots, "mean"]
        for shots, estimate in zip([*evaluation.shots, "mean"], [*row.shots, row.mean], strict=True):
            if estimate is not None:
                assert (mine["accuracy"][shots], mine["low"][shots]) == (estimate.value, estimate.low)
    held_out = answers[(answers["split"] == "test") & (answers["row"] == "similarity")]
    (similarity,) = (row for row in evaluation.rows if row.name == "similarity")
    for shots, estimate in zip(evaluation.shots, similarity.shots, strict=True):
        assert estimate is not None
        assert held_out[held_out["shots"] == shots]["accuracy"].mean() == pytest.approx(estimate.value)
    with pytest.raises(RunError, match="run mine has no evaluation 'other'; it has declared"):
        full.answers("other")
    with pytest.raises(RunError, match="run mine has no evaluation; it has none"):
        run.results()


def test_without_pandas_the_error_says_what_to_install(run: sweep.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RunError, match="pip install pandas"):
        run.curves()


def test_the_best_selector_is_the_one_that_is_exported(run: sweep.Run, tmp_path: Path) -> None:
    best = run.best()
    assert best.trial == 0 and best.chosen == "best of all complete trials by val_loss on the validation split"
    assert best.val_loss == min(run.curves()["val_loss"]) and best.manifest["step"] == best.epoch
    exported = run.export(tmp_path / "out")
    query, pool = torch.randn(3, best.selector.config.width), torch.randn(3, 9, best.selector.config.width)
    expected = PointerSelector.from_pretrained(exported.folder).select(query, pool, 4)
    assert torch.equal(best.selector.select(query, pool, 4), expected)
    assert run.best(0).chosen == "chosen by number"
    with pytest.raises(RunError, match="has no trial '7'"):
        run.best(7)


def test_damage_is_an_exception_of_ours(good_run: RunPaths, tmp_path: Path) -> None:
    shutil.copytree(good_run.root.local(), tmp_path / "mine")
    run = sweep.load_run(tmp_path / "mine")
    (tmp_path / "mine" / "trials" / "0000" / "epochs.jsonl").write_text("{")
    with pytest.raises(sweep.UserError, match=r"epochs\.jsonl: line 1 is not JSON"):
        run.curves()
    (weights,) = list((tmp_path / "mine").glob("trials/0000/best/*/model.safetensors"))[:1]
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(sweep.UserError):
        [run.best() for _ in range(2)]


@pytest.mark.parametrize(
    ("space", "fragment"),
    [
        ({**SPACE, "budget": {"trails": 3}}, "budget.trails: unknown key 'trails'; the nearest valid key is 'trials'"),
        ({**SPACE, "budget": {"trials": object()}}, "the given space: a value of type object has no place in a space"),
        ({**SPACE, "max_disk_gb": float("nan")}, "the given space: "),
        ("nowhere.yaml", "search space 'nowhere.yaml' does not exist"),
    ],
)
def test_a_wrong_space_is_an_exception(space: object, fragment: str, tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as caught:
        sweep.run(space, runs=tmp_path)  # type: ignore[arg-type]
    assert fragment in str(caught.value) and not list(tmp_path.iterdir())


def test_another_thread_is_told_that_it_cannot(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def tried(call: Callable[[], object]) -> None:
        try:
            call()
        except RunError as error:
            caught.append(error)

    thread = threading.Thread(target=tried, args=(lambda: sweep.run(SPACE, runs=tmp_path),))
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_sweep_from_a_mapping(ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the session's Ray: values of NumPy, an override, output where Python's stdout is, and going on."""
    space = {**SPACE, "trial": {**SPACE["trial"], "grpo": {"epochs": np.int64(1)}}}
    run = sweep.run(space, runs=tmp_path, overrides=["budget.trials=1"])
    shown = capsys.readouterr().out
    assert "Trials by val_loss" in shown and "budget.trials=1" in shown
    assert run.verdict is not None and run.verdict.sentence in " ".join(shown.split())
    assert run.finished and run.name == "small-1" and list(run.trials_dataframe()["state"]) == ["complete"]
    again = sweep.resume(run, overrides=["budget.trials=2"], show=False)
    assert len(again.trials) == 2 and again.space.budget.trials == 2 and capsys.readouterr().out == ""
    assert len(again.curves()) == 6

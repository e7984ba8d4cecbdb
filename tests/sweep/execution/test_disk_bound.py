"""The bound on a run's disk use: what goes, in which order, what stays whatever happens, and that trials still run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from selector.health import Verdict
from sweep.execution.disk_bound import GB, DiskBound
from sweep.results.policies import policies
from sweep.runs.paths import RunPaths, sqlite_url
from sweep.space import SearchSpace, parse_space
from sweep.storage.local import stored_at
from sweep.study import Standing, StudyOwner, TrialSummary
from sweep.study.ranking import TOP, rank
from sweep.trials.checkpoints import MANIFEST_FILE, read_checkpoint, write_checkpoint
from sweep.trials.finalists import finalists
from sweep.trials.messages import TrialContext
from sweep.trials.rce_store import RceKey
from sweep.trials.stored import best_epochs
from tests.sweep.commands import Command, sweep
from tests.sweep.spaces import SETTINGS, SMALL, context, run_of, small_dataset, trial

FINGERPRINT = "f" * 64
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)
KINDS = [
    "half-written files",
    "epochs of failed and pruned trials",
    "unused warm-ups",
    "second-best epochs",
    "TensorBoard events",
    "epochs of trials far down the ranking",
    "their warm-ups",
]


def space_of(gb: float | None, **changes: Any) -> SearchSpace:
    return parse_space(yaml.safe_dump({**yaml.safe_load(SMALL), "max_disk_gb": gb, **changes}), "space.yaml")


def summary(
    number: int, state: TrialState, *verdicts: Verdict, rce: str | None = None, shots: int | None = None
) -> TrialSummary:
    value = float(number) if state is TrialState.COMPLETE else None
    params = {"grpo.kl_beta": 0.1, "grpo.lr": 0.001 * (number + 1), "reward.mode": "separated"}
    return TrialSummary(
        number=number, state=state, params=params, value=value, best_value=value, last_step=5, reason="",
        configuration=number, repeat=0, key=str(number), seed=number, attempt=1, duration=1.0,
        standing=Standing(verdicts, rce_digest=rce, shots=shots),
    )  # fmt: skip


class Run:
    """A run folder with files of a known size. Trial n has the value n: lower numbers rank higher."""

    def __init__(self, folder: Path, states: list[TrialState], *, own_warm_ups: bool = False) -> None:
        self.paths = RunPaths.at(folder)
        self.rows = [summary(number, state) for number, state in enumerate(states)]
        self.said: list[str] = []
        self.own_warm_ups = own_warm_ups
        for row in self.rows:
            self._trial(row)
        for name in ("run.json", "space.yaml", "study.db", "run.log"):
            (folder / name).write_text("x" * 100)

    def digest(self, row: TrialSummary) -> str:
        if row.state is TrialState.RUNNING:
            space = space_of(None)
            key = RceKey.of(space.resolve(row.params, row.repeat), space.validation, FINGERPRINT)
            return key.digest
        return f"{row.number if self.own_warm_ups else 0:064x}"

    def _trial(self, row: TrialSummary) -> None:
        own = self.paths.trial(row.number)
        tensors = {"a": torch.zeros(2500)}
        digest = self.digest(row)
        for step in (3, 4):
            manifest = {
                "kind": "epoch",
                "run": "run",
                "step": step,
                "stage": "grpo",
                "seed": 0,
                "metrics": {"val_loss": step / 10, "val_reward": 0.5},
                "rce": {"digest": digest},
                "trial": row.number,
            }
            write_checkpoint(own.epoch(step), tensors, manifest)
        write_checkpoint(
            self.paths.rce_folder / digest,
            tensors,
            {"kind": "rce", "seed": 0, "reports": [], "key": {"settings": {"rce": {"keep": "last"}}}},
        )
        (own.events_folder / "events").write_bytes(b"x" * 10_000)
        if row.state is TrialState.RUNNING:
            write_checkpoint(
                own.resume_folder / "step-0004", tensors, {"kind": "resume", "epoch": 1, "numbers": {}, "history": []}
            )
        else:
            (own.best_folder / ".step-0002.abcdef" / "model.safetensors").write_bytes(b"x" * 10_000)

    def bound(self, limit_bytes: float, **changes: Any) -> DiskBound:
        space = space_of(limit_bytes / GB, **changes)
        return DiskBound(self.paths, space, FINGERPRINT, lambda: self.rows, self.said.append)

    @property
    def steps(self) -> dict[int, list[int]]:
        return {
            row.number: sorted(int(path.name[-4:]) for path in self.paths.trial(row.number).best_folder.glob("step-*"))
            for row in self.rows
        }


def test_the_order(tmp_path: Path) -> None:
    states = [TrialState.COMPLETE] * (TOP + 3) + [TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    run = Run(tmp_path, states, own_warm_ups=True)
    removed = run.bound(1).enforce()
    assert [one.what for one in removed] == KINDS
    assert [one.count for one in removed] == [10, 4, 2, 3, 10, 3, 3]
    assert len(run.said) == 2 and "raise max_disk_gb" in run.said[-1], "the rest is all needed"


def test_no_more_than_it_takes_and_the_worst_first(tmp_path: Path) -> None:
    states = [TrialState.COMPLETE] * (TOP + 2) + [TrialState.PRUNED, TrialState.FAIL]
    run = Run(tmp_path, states)
    seen = []
    while True:
        before = run.steps
        removed = run.bound(stored_at(tmp_path).size() - 1).enforce()
        if not removed:
            break
        assert [one.count for one in removed] == [1]
        seen += [
            (number, set(before[number]) - set(steps)) for number, steps in run.steps.items() if steps != before[number]
        ]
    last = TOP + 1
    failed, pruned = last + 2, last + 1
    assert seen == [
        (failed, {3}),
        (failed, {4}),
        (pruned, {3}),
        (pruned, {4}),
        (last, {4}),
        (last - 1, {4}),
        (last, {3}),
        (last - 1, {3}),
    ]


def test_what_stays_whatever_happens(tmp_path: Path) -> None:
    states = [TrialState.COMPLETE] * (TOP + 2) + [TrialState.RUNNING, TrialState.PRUNED]
    run = Run(tmp_path, states, own_warm_ups=True)
    run.bound(1).enforce()
    running = TOP + 2
    expected = {number: [3, 4] if number < TOP or number == running else [] for number in range(TOP + 4)}
    assert run.steps == expected
    for number in range(TOP):
        assert read_checkpoint(run.paths.trial(number).epoch(3))
        assert read_checkpoint(run.paths.rce_folder / run.digest(run.rows[number]))
    assert read_checkpoint(run.paths.trial(running).resume_folder / "step-0004")
    assert run.paths.trial(running).events_folder.exists()
    assert read_checkpoint(run.paths.rce_folder / run.digest(run.rows[running])), "it may be about to read it"
    assert {"run.json", "space.yaml", "study.db", "run.log"} <= {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.rglob(".*"))


def test_the_second_best_of_a_kept_trial_and_more_trials_stay_for_an_evaluation(tmp_path: Path) -> None:
    run = Run(tmp_path, [TrialState.COMPLETE] * (TOP + 4))
    evaluation = {
        "evaluation": {"top": TOP + 2, "epochs_per_trial": 2},
        "items": {"demo": {}},
        "vlm": {"model": {"path": "m"}},
    }
    run.bound(1, **evaluation).enforce()
    assert run.steps == {number: [3, 4] if number < TOP + 2 else [] for number in range(TOP + 4)}


def test_trials_that_changed_nothing_give_way_to_those_below(tmp_path: Path) -> None:
    """As a comparison leaves them out; the best one stays whatever it is."""
    run = Run(tmp_path, [TrialState.COMPLETE] * (TOP + 3))
    run.rows[0], run.rows[1] = (summary(number, TrialState.COMPLETE, Verdict.NO_OP) for number in (0, 1))
    run.bound(1).enforce()
    assert [number for number, steps in run.steps.items() if steps] == [0, *range(2, TOP + 2)]


def test_without_a_bound_or_below_it_nothing_is_touched(tmp_path: Path) -> None:
    run = Run(tmp_path, [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
    before = stored_at(tmp_path).size()
    assert run.bound(before).enforce() == []
    assert DiskBound(run.paths, space_of(None), FINGERPRINT, lambda: run.rows, run.said.append).enforce() == []
    assert stored_at(tmp_path).size() == before and not run.said


def test_damaged_files_do_not_stop_it(tmp_path: Path) -> None:
    run = Run(tmp_path, [TrialState.COMPLETE] * (TOP + 2))
    for step in (3, 4):
        (run.paths.trial(TOP + 1).epoch(step) / MANIFEST_FILE).write_text("{")
    run.bound(1).enforce()
    assert run.steps[TOP + 1] == [] and run.steps[0] == [3, 4]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.lists(st.sampled_from(STATES), max_size=9),
    share=st.floats(0.05, 1.2),
    own=st.booleans(),
)
def test_it_ends_below_the_bound_or_with_nothing_left_to_give(
    states: list[TrialState], share: float, own: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Run(tmp_path_factory.mktemp("run"), states, own_warm_ups=own)
    limit = run.paths.root.size() * share
    removed = run.bound(limit).enforce()
    left = run.paths.root.size()
    if left > limit:
        assert "raise max_disk_gb" in run.said[-1]
        assert run.bound(1).enforce() == [], "all of it is needed"
    for row in run.rows:
        if row.state is TrialState.RUNNING:
            assert run.steps[row.number] == [3, 4]
    for row in [row for row in rank(run.rows) if row.is_complete][:TOP]:
        assert best_epochs(run.paths, row.number)
        assert read_checkpoint(run.paths.rce_folder / run.digest(row))
    assert bool(removed) == any("removed" in line for line in run.said)


@st.composite
def trials(draw: st.DrawFn) -> list[tuple[TrialState, tuple[Verdict, ...], int | None, str | None]]:
    """State, verdicts, the picks they are about, and what is damaged of each trial; most are complete and whole."""
    states = st.sampled_from((*[TrialState.COMPLETE] * 12, *STATES))
    verdicts = st.sampled_from(((), (), (Verdict.KL_DOMINATED,), (Verdict.DEAD_SIGNAL,), (Verdict.NO_OP,)))
    damage = st.sampled_from((None, None, None, "gone", "manifest", "weights", "second"))
    row = st.tuples(states, verdicts, st.sampled_from((None, 2, 4)), damage)
    return draw(st.lists(row, min_size=TOP + 2, max_size=TOP + 6))


def damaged(run: Run, number: int, what: str | None) -> None:
    best, second = (run.paths.trial(number).epoch(step) for step in (3, 4))
    if what == "gone":
        best.parent.remove()
    elif what == "manifest":
        (best / MANIFEST_FILE).write_text("{")
    elif what is not None:
        weights = (second if what == "second" else best) / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")


@settings(max_examples=40, deadline=None)
@given(made=trials(), own=st.booleans(), top=st.integers(1, TOP + 2), epochs=st.integers(1, 2))
def test_it_never_deletes_what_a_comparison_takes(
    made: list[tuple[TrialState, tuple[Verdict, ...], int | None, str | None]],
    own: bool,
    top: int,
    epochs: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    run = Run(tmp_path_factory.mktemp("run"), [state for state, *_ in made], own_warm_ups=own)
    for number, (state, verdicts, shots, damage) in enumerate(made):
        run.rows[number] = summary(number, state, *verdicts, rce=run.digest(run.rows[number]), shots=shots)
        run.paths.trial(number).settings_file.write_text(SETTINGS.model_dump_json())
        damaged(run, number, damage)
    ranked = rank(run.rows)

    def taken() -> list[object]:
        by_answers = policies(run.paths, ranked, top, epochs, shots=4)
        held_out = policies(run.paths, ranked, TOP)
        return [*(one.row for one in (*by_answers, *held_out)), *finalists(run.paths, ranked, 3, 2)]

    before = taken()
    evaluation = {"top": top, "epochs_per_trial": epochs, "finalists": {"seeds": 2}}
    run.bound(1, evaluation=evaluation, items={"demo": {}}, vlm={"model": {"path": "m"}}).enforce()
    assert taken() == before


def test_a_warm_up_that_went_is_trained_again_to_the_bit(tmp_path: Path) -> None:
    """And a trial that begins after the bound has struck is the trial that it would have been."""
    dataset = small_dataset()
    shared: TrialContext = context(tmp_path, dataset)
    space = space_of(1e-9)
    owner = StudyOwner.open(sqlite_url(tmp_path / "study.db"), "mine", space)
    asked = owner.ask()
    list(trial(shared, dataset, asked.number, asked.settings))
    owner.fail(0, "for the test")
    (manifest,) = run_of(shared).rce_folder.glob(f"*/{MANIFEST_FILE}")
    warm_up = manifest.parent
    before = read_checkpoint(warm_up)
    bound = DiskBound(run_of(shared), space, dataset.fingerprint(), owner.summaries, lambda line: None)
    bound.enforce()
    assert not warm_up.exists() and not run_of(shared).trials_folder.glob("*/best/step-*")
    again = list(trial(shared, dataset, 1, asked.settings))
    assert again[-1].done
    after = read_checkpoint(warm_up)
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1]["sha256"] == after[1]["sha256"]


@pytest.mark.slow
def test_a_real_sweep_stays_below_its_bound(
    ray_session: None, tmp_path: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    ran = sweep(tmp_path, max_disk_gb=0.0012, budget={"trials": 9}, concurrency=1)
    run = ran.paths.root.local()
    assert ran.outcome.exit_code == 0
    assert "disk: the run is at its bound of 1.2 MB; removed " in ran.screen
    assert "disk: the run is at its bound" in caplog.text
    rows = [trial for trial in ran.study.trials if trial.state is TrialState.COMPLETE]
    assert len(rows) >= TOP
    ranking = json.loads((run / "ranking.json").read_text())
    assert [row["name"] for row in ranking["held_out"]][:2] == ["random", "similarity"] and len(ranking["held_out"]) > 3
    code, out, _ = command("verify", str(run))
    assert code == 0 and "ok" in out
    code, out, _ = command("export", str(run), "--out", str(tmp_path / "out"))
    assert code == 0 and "by val_loss" in out
    assert policies(RunPaths.at(run), [], TOP) == []

"""Each finding on a run that has what it looks for, and silence on a run that has not."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selector.reports import EpochReport, Stage
from sweep.evaluation.records import CorrelationRecord, read_evaluation
from sweep.report.doctor import diagnosis_document
from sweep.report.documents import document_text
from sweep.results.doctor import Diagnosis, diagnose
from sweep.results.evidence import Evidence, Groups, read_evidence
from sweep.results.finding import REMOVED, Change, Code, Finding, Severity
from sweep.results.next_space import NextSpace, next_space
from sweep.results.receipts import receipts, words
from sweep.runs.paths import RunPaths
from sweep.space import SearchSpace, parse_space
from sweep.space.edit import flow
from sweep.storage.local import stored_at
from sweep.study import FrozenTrial, TrialState
from sweep.study.comparison import COMPARED, Comparison, Quantity
from sweep.study.summaries import REASON
from tests.sweep.commands import Command
from tests.sweep.plans import plan_of_run
from tests.sweep.results.studies import SPACE, draw, space_of, study_of, trial_of


def report(step: int, val_loss: float, stage: Stage = Stage.GRPO, **values: Any) -> EpochReport:
    plain: dict[str, Any] = {field.name: 1.0 for field in fields(EpochReport)}
    given: dict[str, Any] = {"stage": stage, "epoch": step, "step": step, "parameter_change": {}, "train_queries": 5}
    return EpochReport(**(plain | given | {"val_loss": val_loss} | values))


def evidence_of(trials: Sequence[FrozenTrial], space: SearchSpace | None = None, **values: Any) -> Evidence:
    """Curves as the study has them."""
    reports = {
        one.number: tuple(report(step, value) for step, value in one.intermediate_values.items()) for one in trials
    }
    return Evidence(space or space_of(), tuple(trials), **({"reports": reports} | values))


def curves(*losses: Sequence[float], **values: Any) -> list[FrozenTrial]:
    points = draw(space_of(), len(losses), seed=0)
    return [trial_of(number, points[number], curve, **values) for number, curve in enumerate(losses)]


def found(evidence: Evidence, code: Code) -> Finding:
    """The one finding of this kind."""
    (only,) = [one for one in diagnose(evidence).findings if one.code is code]
    return only


def codes(evidence: Evidence) -> set[Code]:
    return {one.code for one in diagnose(evidence).findings}


def test_a_healthy_run_has_nothing_of_weight() -> None:
    middle = study_of(lambda point: (math.log10(point["grpo.lr"]) + 4) ** 2, 24, seed=4)
    trials = [
        trial_of(one.number, one.params, [value + 1, value, value + 0.1])
        for one in middle
        if (value := one.value) is not None
    ]
    grave = {one.code for one in diagnose(evidence_of(trials)).findings if one.severity < Severity.WASTE}
    assert grave <= {Code.EDGE_OF_RANGE} and Code.BEST_EPOCH_LAST not in grave


def test_best_at_the_last_epoch_asks_for_more() -> None:
    space = space_of(trial={"grpo": {"epochs": 4}}, pruner={"type": "median", "n_warmup_steps": 2})
    one = found(evidence_of(curves([4, 3, 2, 1], [4, 3, 2.5, 2], [4, 3, 3, 3.5]), space), Code.BEST_EPOCH_LAST)
    assert one.trials == (0, 1)
    assert [(change.path, change.value) for change in one.changes] == [
        (("trial", "grpo", "epochs"), 6),
        (("pruner", "n_warmup_steps"), 3),
    ]


def test_best_at_the_first_epoch_or_before_it() -> None:
    trials = curves([1, 2, 3], [1, 2, 3], [3, 2, 2.5])
    reports = {one.number: tuple(report(n, v) for n, v in one.intermediate_values.items()) for one in trials}
    reports[2] = (report(0, 0.5, Stage.RCE), *reports[2])
    assert found(evidence_of(trials, reports=reports), Code.BEST_EPOCH_FIRST).trials == (0, 1, 2)


def test_overfitting_needs_both_curves() -> None:
    trials = curves(*[[3.0, 2.0, 2.4, 2.9]] * 3)
    falling = {
        one.number: tuple(report(n, v, train_loss=5.0 - n) for n, v in one.intermediate_values.items())
        for one in trials
    }
    assert found(evidence_of(trials, reports=falling), Code.OVERFITTING).trials == (0, 1, 2)
    assert Code.OVERFITTING not in codes(evidence_of(trials))  # the training loss does not fall


@pytest.mark.parametrize(
    ("verdict", "code"),
    [("dead_signal", Code.DEAD_SIGNAL), ("kl_dominated", Code.KL_DOMINATED), ("no_op", Code.NO_OP)],
)
def test_verdicts_of_most_trials(verdict: str, code: Code) -> None:
    assert found(evidence_of(curves([2, 1], [2, 1], verdicts=[verdict])), code).trials == (0, 1)
    mixed = [*curves([2, 1], verdicts=[verdict]), *[trial_of(n, {}, [2, 1]) for n in range(1, 4)]]
    assert code not in codes(evidence_of(mixed))


def test_dead_reward_modes_are_left_out() -> None:
    modes = ["hard_only", "soft_only", "separated", "hard_plus_soft"] * 3
    trials = [
        trial_of(n, {"reward.mode": mode}, [2, 1], verdicts=["dead_signal"] if mode == "hard_only" else [])
        for n, mode in enumerate(modes)
    ]
    (change,) = found(evidence_of(trials), Code.DEAD_SIGNAL).changes
    assert change.value == ["soft_only", "separated", "hard_plus_soft"]


def test_best_values_at_an_edge_move_the_range() -> None:
    one = found(evidence_of(study_of(lambda p: -math.log(p["grpo.lr"]), 30)), Code.EDGE_OF_RANGE)
    ends = {change.path[-1]: change.value for change in one.changes}
    assert ends["high"] == pytest.approx(0.1) and 1e-5 < ends["low"] < 1e-3
    unknown = study_of(lambda p: float(hash(p["grpo.lr"]) % 97), 30)
    assert all(change.path[-1] != "low" for f in diagnose(evidence_of(unknown)).findings for change in f.changes)


def test_a_range_ends_where_the_setting_does() -> None:
    """clip_epsilon must be below 1, so that a range to 0.99 cannot go on."""
    space = space_of({"grpo.clip_epsilon": {"type": "float", "low": 0.1, "high": 0.99}})
    trials = study_of(lambda p: -p["grpo.clip_epsilon"], 30, space=space)
    text = next_of(evidence_of(trials, space)).text
    high = parse_space(text, "next").parameters["grpo.clip_epsilon"].bounds()["high"]
    assert isinstance(high, float) and 0.98 <= high < 1


def test_a_parameter_that_does_nothing_is_fixed_with_what_hangs_on_it() -> None:
    trials = study_of(lambda p: -math.log(p["grpo.lr"]), 300)
    evidence = evidence_of(trials)
    dead = [one for one in diagnose(evidence).findings if one.code is Code.DEAD_PARAMETER]
    fixed = {change.path[1]: change.value for one in dead for change in one.changes}
    assert {"grpo.clip_epsilon", "grpo.batch_size", "reward.mode", "grpo.ppo_clip_only"} <= set(fixed)
    best = min(trials, key=lambda one: one.value or 0.0)
    if best.params["grpo.ppo_clip_only"]:
        assert fixed["grpo.kl_beta"] is REMOVED
    assert fixed["reward.mode"] == {"type": "fixed", "value": best.params["reward.mode"]}


def test_what_cannot_be_told_is_said() -> None:
    noise = np.random.default_rng(0)
    evidence = evidence_of(study_of(lambda p: float(noise.standard_normal()), 12))
    assert {Code.CANNOT_BE_TOLD, Code.DEAD_PARAMETER} & codes(evidence)
    assert Code.RANGE_TOO_WIDE not in codes(evidence)


def test_few_groups_and_identical_trials() -> None:
    trials = curves([2, 1], [2, 1.1], [2, 1.2])
    same, other = np.arange(20).reshape(10, 2), np.arange(20)[::-1].reshape(10, 2)
    evidence = evidence_of(trials, groups=Groups(10, 80), picks={0: same, 1: other, 2: same.copy()})
    assert found(evidence, Code.IDENTICAL_TRIALS).trials == (0, 2)
    assert found(evidence, Code.FEW_GROUPS).severity is Severity.RESULT
    fine = evidence_of(trials, groups=Groups(60, 80), picks={0: same, 1: other})
    assert not {Code.FEW_GROUPS, Code.IDENTICAL_TRIALS} & codes(fine)


def test_seeds_that_change_the_winner() -> None:
    def repeats(apart: float) -> Evidence:
        trials = []
        for number, (key, loss) in enumerate((("a", 1.0), ("a", 1.2), ("b", 1.1 + apart), ("b", 1.3 + apart))):
            trial = trial_of(number, {"grpo.lr": 1e-4 if key == "a" else 1e-3}, [loss])
            trial.user_attrs["trial"]["key"] = key
            trials.append(trial)
        return evidence_of(trials, space_of(repeats=2))

    assert found(repeats(0.0), Code.SEEDS_CHANGE_WINNER).changes[0].value == 4
    assert Code.SEEDS_CHANGE_WINNER not in codes(repeats(5.0))


def test_more_data_that_helps() -> None:
    sizes = [100, 100, 200, 200, 400, 400, 800, 800]
    trials = [trial_of(n, {}, [2 + 5 * size**-0.5 + 0.001 * (n % 2)]) for n, size in enumerate(sizes)]
    reports = {n: (report(1, trials[n].value or 0.0, train_queries=size),) for n, size in enumerate(sizes)}
    assert "1600 instead of 800" in found(evidence_of(trials, reports=reports), Code.TOO_LITTLE_DATA).title


# Pruning ------------------------------------------------------------------------------------------------------------

MEDIAN: dict[str, Any] = {
    "pruner": {"type": "median", "n_warmup_steps": 0, "n_startup_trials": 2},
    "pruning_starts": "at_once",
}


def pruned_late_bloomer() -> list[FrozenTrial]:
    """The order turns at epoch 3: what is last at epoch 1 ends as the best."""
    complete = curves(*[[3 + 0.1 * n, 2.5, 2.0 - 0.2 * n, 1.9 - 0.25 * n] for n in range(6)])
    return [*complete, trial_of(6, draw(space_of(), 1, 9)[0], [3.6], TrialState.PRUNED, reason="median pruner")]


def test_a_receipt_says_what_was_compared_and_the_regret() -> None:
    trials = pruned_late_bloomer()
    trials[6].user_attrs[COMPARED] = asdict(Comparison(Quantity.BEST, 3.6, 3.25, trials=6))
    (one,) = receipts(space_of(**MEDIAN), trials)
    assert (one.trial, one.epoch, one.value, one.ran_on) == (6, 1, 3.6, 6)
    assert words(one) == "median pruner: 3.6000 is above 3.2500, the median of 6 complete trials that had got as far"
    falls = [(3 + 0.1 * n) - (1.9 - 0.25 * n) for n in range(6)]
    best = 1.9 - 0.25 * 5
    assert one.expected == pytest.approx(3.6 - np.mean(falls))
    assert one.chance == pytest.approx(np.mean([3.6 - fall < best for fall in falls]))
    assert one.regret == pytest.approx(np.mean([max(0.0, best - (3.6 - fall)) for fall in falls]))


RUNG = Comparison(Quantity.LATEST, 2.31, 2.2, trials=15, rung=1, rung_epoch=6, reduction_factor=3)


@pytest.mark.parametrize(
    ("pruner", "compared", "said"),
    [
        ("successive_halving", RUNG, "is above 2.2000, the limit at rung 1 (epoch 6), where one in 3 of 15 trials"),
        ("hyperband", replace(RUNG, bracket=2), "at rung 1 of bracket 2 (epoch 6), where"),
        ("hyperband", replace(RUNG, threshold=None), "the first trials at rung 1 (epoch 6) stop, this was number 15"),
        ("threshold", Comparison(Quantity.LATEST, 0.1, 0.2, stops_below=True), "val_loss, 0.1000, is below 0.2000"),
        ("wilcoxon", Comparison(Quantity.P, 0.03, 0.1, True, 1, best_trial=7), "trial 7, 0.0300, is below 0.1000"),
        ("patient", Comparison(Quantity.RECENT, 2.3, 2.2), "is above 2.2000, the best before"),
    ],
)
def test_every_pruner_says_what_it_compared(pruner: str, compared: Comparison, said: str) -> None:
    trials = pruned_late_bloomer()
    trials[6].user_attrs.update({COMPARED: json.loads(json.dumps(asdict(compared))), REASON: f"{pruner} pruner"})
    (one,) = receipts(space_of(pruner={"type": "median"}), trials)
    assert one.compared == compared and words(one).startswith(f"{pruner} pruner: ") and said in words(one)
    trials[6].user_attrs[REASON] = "diverged"
    assert words(receipts(space_of(), trials)[0]) == "diverged"


def test_pruning_that_cost_the_best_is_found() -> None:
    trials = curves(*[[3 - 0.001 * n, 2.5, 2.0 - 0.2 * n, 1.9 - 0.25 * n] for n in range(6)])
    trials.append(trial_of(6, draw(space_of(), 1, 9)[0], [2.9], TrialState.PRUNED, reason="median pruner"))
    assert Code.PRUNED_THE_BEST not in codes(evidence_of(trials, space_of(**MEDIAN)))  # one in six is too little
    trials[6] = trial_of(6, trials[6].params, [2.2], TrialState.PRUNED, reason="median pruner")
    late = pruned_late_bloomer()[:6]
    late.append(trial_of(6, trials[6].params, [2.6], TrialState.PRUNED, reason="median pruner"))
    one = found(evidence_of(late, space_of(**MEDIAN)), Code.PRUNED_THE_BEST)
    assert one.trials == (6,) and one.changes[0].path == ("pruner", "n_warmup_steps") and one.changes[0].value == 3


def test_all_pruned_failed_or_diverged() -> None:
    trials = [trial_of(n, {}, [3.0], TrialState.PRUNED, reason="median pruner") for n in range(3)]
    one = found(evidence_of(trials), Code.NO_COMPLETE_TRIAL)
    assert one.changes[0].value == {"type": "none"} and receipts(space_of(), trials)[0].chance is None
    failed = [trial_of(n, {}, [], TrialState.FAIL, reason="out of memory") for n in range(3)]
    assert "3 times: out of memory" in found(evidence_of(failed), Code.FAILED_TRIALS).evidence
    gone = [trial_of(n, {}, [math.nan], TrialState.PRUNED, verdicts=["diverged"]) for n in range(3)]
    assert found(evidence_of(gone), Code.DIVERGED).trials == (0, 1, 2)
    assert not found(evidence_of(gone), Code.NO_COMPLETE_TRIAL).changes  # not the pruner's doing


@pytest.mark.parametrize("trials", [[], curves([2.0, 1.0])], ids=["none", "one"])
def test_small_runs_are_looked_at(trials: list[FrozenTrial]) -> None:
    found_there = diagnose(evidence_of(trials))
    assert all("it takes" in one.reason for one in found_there.importance)
    document_text(diagnosis_document(RunPaths.at("x"), found_there))


# next ---------------------------------------------------------------------------------------------------------------


def next_of(evidence: Evidence, diagnosis: Diagnosis | None = None, text: str | None = None) -> NextSpace:
    sections = evidence.space.model_dump(mode="json", exclude_unset=True)
    written = text or "".join(f"{key}: {flow(value)}\n" for key, value in sections.items())
    return next_space("old", written, (), evidence, diagnosis or diagnose(evidence))


def test_next_applies_what_doctor_says_and_nothing_else() -> None:
    evidence = evidence_of(study_of(lambda p: -math.log(p["grpo.lr"]), 60))
    diagnosis = diagnose(evidence)
    after = next_of(evidence, diagnosis)
    assert list(after.applied) == [change for one in diagnosis.findings for change in one.changes]
    assert not after.left_out and len(after.points) == 3 and len(after.space.enqueue) == 3
    for change in after.applied:
        if change.value is not REMOVED:
            assert f"# {change.reason}" in after.text
    best = min(evidence.trials, key=lambda one: one.value or 0.0)
    assert after.points[0] == best.number
    assert after.space.enqueue[0]["grpo.lr"] == best.params["grpo.lr"]
    untouched = set(SPACE["parameters"]) - {change.path[1] for change in after.applied}
    for path in untouched:
        assert after.space.parameters[path] == evidence.space.parameters[path]


def test_old_losses_are_a_prior_where_they_are_comparable() -> None:
    evidence = evidence_of(study_of(lambda p: -math.log(p["grpo.lr"]), 40))
    diagnosis = diagnose(evidence)
    after = next_of(evidence, diagnosis)
    assert {change.path[0] for change in after.applied} == {"parameters"} and after.space.prior is not None
    values = {one.number: one for one in evidence.trials}
    for number, one in zip(after.prior, after.space.prior, strict=True):
        assert one.val_loss == values[number].value and one.params["grpo.lr"] == values[number].params["grpo.lr"]
    longer = Finding(
        Code.BEST_EPOCH_LAST, Severity.LOSS, "", (), "", changes=(Change(("trial", "grpo", "epochs"), 20, ""),)
    )
    other = next_of(evidence, replace(diagnosis, findings=(longer,)))
    assert not other.prior and other.space.prior is None and "not comparable" in other.text
    blind = evidence_of(evidence.trials, space_of(sampler="random"))
    assert not next_of(blind, diagnosis).prior


def test_a_change_that_the_space_refuses_is_left_out_and_said() -> None:
    evidence = evidence_of(study_of(lambda p: -math.log(p["grpo.lr"]), 60))
    diagnosis = diagnose(evidence)
    wrong = Finding(
        Code.NO_OP,
        Severity.RESULT,
        "wrong",
        (),
        "",
        changes=(replace(diagnosis.findings[0].changes[0], path=("budget", "trials"), value=-1),),
    )
    after = next_of(evidence, replace(diagnosis, findings=(wrong, *diagnosis.findings, diagnosis.findings[0])))
    assert [finding.title for finding, _ in after.left_out] == ["wrong", diagnosis.findings[0].title]
    assert "changed already" in after.left_out[1][1] and "# Not applied: wrong" in after.text


# A run --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evidence(finished: RunPaths) -> Evidence:
    return read_evidence(finished, lambda: plan_of_run(finished))


def test_a_run_is_read_whole(evidence: Evidence, finished: RunPaths) -> None:
    complete = [row.number for row in evidence.complete]
    assert list(evidence.picks) == complete and set(evidence.reports) == {row.number for row in evidence.rows}
    assert evidence.groups is not None and evidence.groups.total == 16 and evidence.evaluation is not None
    assert not any("at hand" in line for line in evidence.not_looked)


def test_val_loss_that_misleads_is_found(evidence: Evidence, finished: RunPaths) -> None:
    evaluation = read_evaluation(finished.evaluation("declared").file)
    wrong = CorrelationRecord(rho=0.8, p=0.01, interval=(0.3, 0.95), rows=12)
    one = found(replace(evidence, evaluation=evaluation.replace(correlation=wrong)), Code.RULER_DISAGREES)
    assert one.severity is Severity.RESULT


def test_a_run_without_data_says_what_was_not_looked_at(copy: Path) -> None:
    paths = RunPaths(stored_at(copy))
    shutil.rmtree(copy / "evaluations")
    evidence = read_evidence(paths, lambda: plan_of_run(paths, copy / "gone"))
    assert not evidence.picks and evidence.evaluation is None and evidence.groups is not None
    assert any("not at hand" in line for line in evidence.not_looked)
    assert diagnose(evidence).findings


def test_commands(finished: RunPaths, command: Command, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in finished.root.local().rglob("*")}
    ran = command("doctor", finished.shown)
    assert ran[0] == 0 and "change:" in ran[1] and "What mattered" in ran[1]
    out = tmp_path / "next.yaml"
    ran = command("next", finished.shown, "--out", str(out), "--json")
    assert ran[0] == 0 and '"sweep-next/1"' in ran[1]
    space = parse_space(out.read_text(), "next")
    assert space.enqueue and "budget: {trials: 5}" in out.read_text()
    again = command("next", finished.shown, "--out", str(out))
    assert again[0] == 2 and "exists" in again[2]
    assert {file: file.stat().st_mtime_ns for file in finished.root.local().rglob("*")} == before

"""The demo from collecting to the table by answers, as a person runs it: real processes, a real model, real kills."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from selector import PointerSelector
from selector.data.native import read_native
from sweep.driver.run import evaluate_again
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.execution.ray.options import RayOptions
from sweep.results.card_text import plain
from sweep.results.run_verdict import verdict_of_run
from sweep.results.verdict import verdict_by_answers, verdict_on_evaluation
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from tests.chaos.processes import MARK, Kind, Process, kill, processes_of
from tests.selector.data.builders import read_notes
from tests.sweep.commands import Command, finish, start, wait_for
from tests.sweep.plans import plan_of_run, screen_on

pytestmark = pytest.mark.slow

SPACE = """
name: world
items:
  demo: {demonstrations: 200, train: 48, val: 24, test: 40, concepts: 16, smallest_pool: 16, largest_pool: 24}
vlm:
  model: {path: demo}
  images: {min_pixels: 784, max_pixels: 12544}
  decoding: {max_new_tokens: 8}
  workers: {count: 1, batch: 16}
collect:
  beams: {similarity: 1, similarity_sampled: 5, random: 2}
trial:
  model: {hidden: 32, heads: 2}
  rce: {epochs: 3, lr: 2e-3, reward: {mode: hard_plus_soft}}
  grpo: {epochs: 3}
parameters:
  grpo.lr: {type: float, low: 1e-3, high: 4e-3, log: true}
  reward.mode: {type: categorical, choices: [hard_plus_soft, soft_only]}
sampler: {type: random}
pruner: {type: none}
budget: {trials: 4}
evaluation: {shots: 4, samples: null, top: 2, epochs_per_trial: 2, resamples: 1000, finalists: {count: 1, seeds: 2}}
"""


def write(folder: Path, **changes: object) -> Path:
    file = folder / "world.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(SPACE), **changes}))
    return file


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a finished run; its output is beside `runs`."""
    folder = tmp_path_factory.mktemp("judged")
    process = start(folder, "run", str(write(folder)), "--name", "mine")
    output = finish(process, 240)
    (folder / "output.txt").write_text(output)
    assert process.returncode == 0, output
    return folder / "runs" / "mine"


def table_of(run: Path) -> Evaluation:
    return read_evaluation(stored_at(run / "evaluations" / "declared" / "evaluation.json"))


def evaluate(run: Path) -> str:
    """What `sweep evaluate` does, on this session's Ray. Returns what it says."""
    screen, paths = io.StringIO(), RunPaths.at(run)
    evaluate_again(plan_of_run(paths), paths, RayOptions(), screen_on(screen))
    return screen.getvalue()


def copy_of(run: Path, folder: Path, *, answers: bool) -> Path:
    """The whole folder of runs, with or without what the model has said."""
    shutil.copytree(run.parent, folder / "runs", symlinks=True)
    if not answers:
        shutil.rmtree(folder / "runs" / "_shared" / "answers")
        shutil.rmtree(folder / "runs" / run.name / "evaluations")
    return folder / "runs" / run.name


def stored_answers(run: Path) -> int:
    parts = (run.parent / "_shared" / "answers").glob("part-*.parquet")
    return sum(pq.read_metadata(part).num_rows for part in parts)


def test_the_table_has_every_row_and_says_where_its_numbers_come_from(judged: Path) -> None:
    output = (judged.parent.parent / "output.txt").read_text()
    names = [row.name for row in table_of(judged).rows]
    for expected in ("no demonstrations", "random", "similarity", "rce_only"):
        assert expected in names and expected in output
    assert sum(bool(re.fullmatch(r"trial \d+", name)) for name in names) == 2
    assert sum("epoch" in name for name in names) == 2
    assert sum("2 fresh seeds" in name for name in names) == 1
    assert "collected" in output and "answered" in output and "VQA accuracy in %" in output
    assert "Traceback" not in output and "Loading weights" not in output


def test_the_models_workers_start_ahead_of_prompts_and_only_when_nothing_is_trained(judged: Path) -> None:
    said = {
        "workers of the vision-language model start ahead": "started",
        "VlmWorker[mine] 1: pid": "placed",
        "trial 3 complete": "trained",
        "finalist trial": "retrained",
        "answered": "answered",
    }
    lines = (judged / "run.log").read_text().splitlines()
    events = [event for line in lines for start, event in said.items() if line.partition(" INFO ")[2].startswith(start)]
    assert events == ["started", "placed", "trained", *["retrained"] * 2, "started", "placed", "answered"]


def test_one_verdict_stands_on_the_screen_in_the_ranking_and_beside_an_export(
    judged: Path, tmp_path: Path, command: Command
) -> None:
    verdict, found, paths = verdict_of_run(RunPaths.at(judged)), table_of(judged), RunPaths.at(judged)
    assert verdict is not None and verdict.best == found.winner.row and verdict.baseline == "similarity"
    assert verdict.sentence == found.sentence == verdict_by_answers(found).sentence
    assert verdict == verdict_on_evaluation(plan_of_run(paths), paths, found), "it is made of what is stored alone"
    screens = [(judged.parent.parent / "output.txt").read_text(), *command("status", str(judged))[1:2]]
    assert all(" ".join(screen.split()).count(f"verdict: {verdict.sentence}") == 1 for screen in screens)
    assert not any(line.startswith("best:") for line in screens[0].splitlines())
    assert ("home with" in screens[0]) == verdict.is_worth_taking
    code, output, _ = command("export", str(judged), "--out", str(tmp_path / "best"))
    assert code == 0 and verdict.sentence in output
    assert f"Verdict of the run: {plain(verdict.sentence)}." in (tmp_path / "best" / "README.md").read_text()


def test_the_audit_has_every_metric_that_costs_nothing(judged: Path) -> None:
    audit, output = table_of(judged).audit, (judged.parent.parent / "output.txt").read_text()
    assert audit is not None and audit.rows == 5
    assert [ruler.metric for ruler in audit.rulers] == [
        "listwise", "listwise_calibrated", "rce", "preferred-beam reward, negated",
    ]  # fmt: skip
    assert [ruler.metric for ruler in audit.rulers if ruler.ranked] == ["listwise_calibrated"]
    correlation = table_of(judged).correlation
    assert correlation is not None and audit.rulers[1].rho == pytest.approx(correlation.rho, abs=1e-8)
    assert "cannot be told with 5 rows" in audit.conclusion and "cannot be told with 5 rows" in output


def test_rows_are_ordered_as_the_world_is_made(judged: Path) -> None:
    found = table_of(judged)
    means = {row.name: row.mean.value for row in found.rows if row.mean is not None}
    assert means["no demonstrations"] <= means["random"] < means["similarity"]
    assert found.failures == {} and found.questions == 40
    assert found.correlation is not None


def test_collected_data_holds_what_the_model_said(judged: Path) -> None:
    (data,) = (judged.parent / "_shared" / "data").glob("*/")
    dataset = read_native(data)
    assert dataset.queries == 112 and len(dataset.beam_picks) == 112 * 8
    assert {name.value for name in dataset.outcomes} == {
        "vqa_correct", "vqa_acc_score", "vqa_gt_prob", "vqa_rel_score",
    }  # fmt: skip
    notes = read_notes(data)
    assert len(set(notes["prediction"])) > 5
    assert set(notes["proposer"]) == {"similarity", "similarity_sampled", "random"}


def test_a_second_evaluation_asks_nothing_and_gives_the_same(ray_session: None, judged: Path, tmp_path: Path) -> None:
    run = copy_of(judged, tmp_path, answers=True)
    before = (run / "evaluations" / "declared" / "evaluation.json").read_bytes()
    assert "answered 0 prompts now" in evaluate(run)
    assert (run / "evaluations" / "declared" / "evaluation.json").read_bytes() == before
    assert stored_answers(run) == stored_answers(judged)


@pytest.mark.long  # tests/sweep/results has evaluations beside each other, the ledger and the choice of the main one
@pytest.mark.usefixtures("ray_session")
def test_evaluations_of_one_run_stand_side_by_side_in_any_order(judged: Path, tmp_path: Path, command: Command) -> None:
    ranking = (judged / "ranking.json").read_bytes()
    one = {**yaml.safe_load(SPACE)["evaluation"], "shots": [1], "epochs_per_trial": 1, "finalists": {"seeds": 0}}
    spaces = {"one-shot": one, "around": {**one, "split": "val", "top": 1, "no_demonstrations": False}}
    for name, evaluation in spaces.items():
        write(tmp_path, evaluation=evaluation).rename(tmp_path / f"{name}.yaml")
    found = {}
    for order in (("one-shot", "around"), ("around", "one-shot")):
        run = copy_of(judged, tmp_path / order[0], answers=True)
        for name in order:
            code, output, error = command(
                "evaluate", str(run), "--space", str(tmp_path / f"{name}.yaml"), "--runs", str(run.parent)
            )
            assert code == 0 and f"Evaluation {name}. " in output and "rests on the evaluation 'declared'" in output, (
                error
            )
        found[order] = {file.parent.name: file.read_bytes() for file in run.glob("evaluations/*/evaluation.json")}
        assert (run / "ranking.json").read_bytes() == ranking
        assert "The test split was asked 2 times, with 2 different settings by this run." in output
    first, second = found.values()
    assert first == second and set(first) == {"declared", *spaces}
    assert first["declared"] == (judged / "evaluations" / "declared" / "evaluation.json").read_bytes()
    looks = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    assert [(one["evaluation"], one["command"], one["state"]) for one in looks] == [
        (name, by, state)
        for name, by in (("declared", "run"), ("around", "evaluate"), ("one-shot", "evaluate"))
        for state in ("started", "finished")
    ]
    assert [one["questions"] for one in looks[::2]] == [40, 24, 40]
    assert looks[2]["split"] == "val" and {"similarity", "random", "rce_only"} < set(looks[2]["rows"])

    again = ("evaluate", str(run), "--runs", str(run.parent))
    code, output, error = command(*again, "--space", str(tmp_path / "one-shot.yaml"), "--main")
    assert code == 0 and "result rests on this evaluation" in output and "is different now" not in output, error
    winner = json.loads((run / "ranking.json").read_text())["winner_by_answers"]
    stored = run / "evaluations" / "one-shot" / "evaluation.json"
    assert winner == json.loads(stored.read_text())["winner"] and stored.read_bytes() == first["one-shot"]
    code, output, _ = command("status", str(run))
    assert "verdict by the evaluation one-shot: " in output
    assert "evaluation declared: 40 questions of the test" in " ".join(output.split())
    code, output, error = command("export", str(run), "--out", str(tmp_path / "best"))
    assert code == 0 and "(evaluation one-shot)" in " ".join(output.split()), error
    assert command(*again)[0] == 0  # the declared one again: the result rests on the chosen one still
    assert json.loads((run / "ranking.json").read_text())["winner_by_answers"] == winner
    code, _, error = command(*again, "--name", "one-shot")
    assert code == 2 and "evaluation.shots: [1] -> [1, 2, 3, 4]" in error, error


@pytest.mark.long  # evaluating again, and what is said of rows that are gone, have shorter tests
def test_deleting_a_trial_changes_no_other_row(ray_session: None, judged: Path, tmp_path: Path) -> None:
    run = copy_of(judged, tmp_path, answers=True)
    before = {row.name: row for row in table_of(run).rows}
    gone = next(row.trial for row in before.values() if row.kind == "trial")
    shutil.rmtree(run / "trials" / f"{gone:04d}")
    shutil.rmtree(run / "finalists")
    said = evaluate(run)
    assert "answered " in said and f"rows gone: trial {gone}," in said, said
    after = {row.name: row for row in table_of(run).rows}
    assert gone not in {row.trial for row in after.values()}
    kept = [name for name in before if name in after]
    assert {"random", "similarity", "rce_only"} <= set(kept)
    for name in kept:
        for field in ("shots", "mean", "asked", "checkpoint", "other_metrics"):
            assert getattr(after[name], field) == getattr(before[name], field), (name, field)


@pytest.mark.long  # the chaos test kills both, though rarely here
@pytest.mark.parametrize("victim", ["driver", "worker"])
def test_a_kill_in_mid_evaluation_changes_nothing(
    judged: Path, tmp_path: Path, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def workers() -> list[Process]:
        return [one for one in processes_of(str(tmp_path)) if one.kind is Kind.POOL]

    run = copy_of(judged, tmp_path, answers=False)
    two = write(tmp_path, vlm={**yaml.safe_load(SPACE)["vlm"], "workers": {"count": 2, "batch": 16}})
    command = ("evaluate", run.name, "--space", str(two))
    monkeypatch.setenv(MARK, str(tmp_path))
    process = start(run.parent.parent, *command)
    wait_for(workers, 150)
    if victim == "driver":
        wait_for(lambda: stored_answers(run) or process.poll() is not None, 150)
        process.kill()
        finish(process)
        process = start(run.parent.parent, *command)
        output = finish(process, 120)
        assert process.returncode == 0, output
    else:
        kill(workers()[0], str(tmp_path))
        output = finish(process, 120)
        assert process.returncode == 0, output
    expected = json.loads((judged / "evaluations" / "declared" / "evaluation.json").read_bytes())
    assert json.loads((run / "evaluations" / "declared" / "evaluation.json").read_bytes()) == expected


@pytest.mark.usefixtures("ray_session")
def test_collect_alone_gives_the_same_data_without_asking_again(
    judged: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(judged, tmp_path, answers=True)
    collect = ("collect", str(write(tmp_path)), "--out", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    code, output, error = command(*collect)
    assert code == 0 and "0 answered now, 896 known before" in output, error
    (shared,) = (run.parent / "_shared" / "data").glob("*/")
    assert read_native(tmp_path / "data").fingerprint() == read_native(shared).fingerprint()
    code, _, error = command(*collect)
    assert code == 2 and "not empty" in error


def test_the_run_is_verified_whole(judged: Path, tmp_path: Path, command: Command) -> None:
    """What a real run holds. Single changes are in tests/sweep/results/test_verify.py."""
    run = copy_of(judged, tmp_path, answers=True)
    code, out, _ = command("verify", "mine", "--runs", str(run.parent))
    assert code == 0 and "rce_only" in out and not re.search(r"(?<!nothing) differs$", out, re.MULTILINE), out
    assert re.search(r"verified: 4 trials, \d+ checkpoints, 1,600 answers; nothing differs\n$", out), out
    with (run / "run.json").open("a") as file:
        file.write("\n")
    code, out, _ = command("verify", "mine", "--runs", str(run.parent), "--quick")
    assert code == 1 and "run.json\n  changed" in out and "differs: 1 place" in out, out


def test_export_takes_the_winner_by_answers(judged: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "best"
    code, output, _ = command("export", "mine", "--runs", str(judged.parent), "--out", str(out))
    winner = table_of(judged).winner
    assert code == 0 and "answers" in output and winner.row is not None
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["trial"] == winner.trial and winner.row in manifest["chosen"]
    PointerSelector.from_pretrained(out)


def test_the_exact_prompt_can_be_printed(judged: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(judged.parent.parent)
    code, output, _ = command("show-prompt", "world.yaml", "--query", "3", "--demonstrations", "7,1")
    assert code == 0 and "You have seen 2 demonstrations." in output and output.count("<|image_pad|>") == 3
    assert [int(item) for item in re.findall(r"^image \d: item (\d+)", output, re.MULTILINE)] == [7, 1, 3]
    code, _, error = command("show-prompt", "world.yaml", "--query", "99999")
    assert code == 2 and "item 99999 does not exist" in error


# Comparing ------------------------------------------------------------------------------------------------------------


def test_two_trials_are_compared_by_weights_selections_curves_and_answers(judged: Path, command: Command) -> None:
    first, second = (row for row in table_of(judged).rows if row.kind == "trial")
    code, out, _ = command("compare", str(judged), str(first.trial), str(second.trial), "--json")
    document = json.loads(out)
    (pair,) = document["pairs"]
    assert code == 0 and pair["agreement"]["questions"] == 24 and document["selectors"][0]["curves"]["val_loss"]
    by_shots = {one["shots"]: one for one in pair["accuracy"]}
    assert first.mean is not None and second.mean is not None
    assert by_shots[None]["value"] == pytest.approx(second.mean.value - first.mean.value)
    for index, shots in enumerate((1, 2, 3, 4)):
        one, other = first.shots[index], second.shots[index]
        assert one is not None and other is not None
        assert by_shots[shots]["value"] == pytest.approx(other.value - one.value)
        assert by_shots[shots]["low"] <= by_shots[shots]["value"] <= by_shots[shots]["high"]
    epoch = f"{first.trial}@{first.step}"
    code, out, _ = command("compare", str(judged), epoch, f"{judged}/{first.trial}", "--shots", "2", "--split", "test")
    assert code == 0 and "The weights are equal, the same demonstrations for 100 % of 40 questions" in out
    code, _, errors = command("compare", str(judged), "0", "0@999")
    assert code == 2 and "epoch 999 of trial 0 is not stored; stored are" in errors

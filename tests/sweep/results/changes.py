"""Single changes to the run of `tests.sweep.finished`, and what is said of each of them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from selector.model import WEIGHTS_FILE
from sweep.evaluation.answer_table import AnswerRecord, read_answers, write_answers
from sweep.plan.make import Answers, make_plan
from sweep.plan.plan import Plan, require_data
from sweep.plan.requests import request_of_run
from sweep.results.seal import SEAL
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at

Change = Callable[[Path], object]
ANSWERS = "evaluations/declared/answers.parquet"
TABLE = "evaluations/declared/evaluation.json"


def plan_of(paths: RunPaths) -> Plan:
    return require_data(make_plan(request_of_run(paths), Answers.STORED))


def append(name: str, content: bytes = b"\n") -> Change:
    """One byte more, which changes no value."""
    return lambda run: (run / name).write_bytes((run / name).read_bytes() + content)


def edit(pattern: str, place: str, value: object) -> Change:
    """One value of a JSON file, or of the first line of many."""

    def change(run: Path) -> None:
        file = sorted(run.glob(pattern))[0]
        first, *others = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        document = json.loads(first)
        owner, keys = document, [int(key) if key.isdecimal() else key for key in place.split(".")]
        for key in keys[:-1]:
            owner = owner[key]
        assert owner[keys[-1]] != value
        owner[keys[-1]] = value
        text = json.dumps(document) if others else json.dumps(document, indent=2)
        file.write_text("".join(f"{line}\n" for line in [text, *others]))

    return change


def sql(statement: str) -> Change:
    def change(run: Path) -> None:
        with closing(sqlite3.connect(run / "study.db")) as database, database:
            assert database.execute(statement).rowcount == 1

    return change


def table_row(kind: str, place: str, value: object) -> Change:
    """One value of the first row of a kind."""

    def change(run: Path) -> None:
        rows = json.loads((run / TABLE).read_text())["rows"]
        edit(TABLE, f"rows.{next(index for index, row in enumerate(rows) if row['kind'] == kind)}.{place}", value)(run)

    return change


def answer(column: str, value: object) -> Change:
    """One value of one line of the table of answers: of a trial, on a question that nobody else asks in this way."""

    def change(run: Path) -> None:
        file = stored_at(run / ANSWERS)
        records: list[AnswerRecord] = read_answers(file)
        prompts = Counter((one.item, one.demonstrations) for one in records)
        place = next(
            index
            for index, one in enumerate(records)
            if one.row.startswith("trial ")
            and (one.shots, one.accuracy, one.split) == (2, 1.0, "test")
            and prompts[one.item, one.demonstrations] == 1
        )
        changes: dict[str, Any] = {column: value}
        assert getattr(records[place], column) != value
        records[place] = replace(records[place], **changes)
        write_answers(file, records)

    return change


def remove(pattern: str) -> Change:
    def change(run: Path) -> None:
        path = sorted(run.glob(pattern))[0]
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def flip(pattern: str) -> Change:
    """The last byte of a file."""

    def change(run: Path) -> None:
        file = sorted(run.glob(pattern))[0]
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    return change


def data(name: str) -> Change:
    return lambda run: flip(f"_shared/data/*/{name}")(run.parent)


VALUE = "update trial_values set value = 0.5 where trial_id = 1"
CHANGES: dict[str, tuple[Change, list[str]]] = {
    # study.db
    "value": (sql(VALUE), ["study.db: trial 0.value: 0.5; right: "]),
    "params": (
        sql("update trial_params set param_value = 0.002 where trial_id = 2 and param_name = 'grpo.lr'"),
        ["study.db: trial 1.params.grpo.lr: 0.002; right: "],
    ),
    "state": (
        sql("update trials set state = 'PRUNED' where trial_id = 1"),
        ['study.db: trial 0.state: "pruned"; right: "complete"'],
    ),
    "intermediate value": (
        sql("update trial_intermediate_values set intermediate_value = 0.1 where trial_id = 1 and step = 3"),
        ["study.db: trial 0.intermediate_values.3: 0.1; right: "],
    ),
    "attribute": (
        sql("update trial_user_attributes set value_json = '\"x\"' where trial_id = 1 and key = 'reason'"),
        ['study.db: trial 0.user_attrs.reason: "x"; right: ""'],
    ),
    "attribute of the study": (
        sql("update study_user_attributes set value_json = '1.5' where key = 'sweep:started'"),
        ["study.db: user_attrs.sweep:started: 1.5"],
    ),
    "trial removed": (sql("delete from trials where trial_id = 5"), ["study.db: trial 4: missing"]),
    # What the run is
    "run.json, a byte": (append("run.json"), ["run.json: changed"]),
    "run.json, space": (edit("run.json", "space.seed", 7), ["run.json: space.seed: 7; right: 0"]),
    "run.json, data": (edit("run.json", "data_fingerprint", "0" * 64), ['run.json: data_fingerprint: "0000']),
    "run.json, versions": (edit("run.json", "versions.torch", "1.0"), ["run.json: changed"]),
    "space.yaml, a byte": (append("space.yaml"), ["space.yaml: changed"]),
    "ranking.json, a byte": (append("ranking.json"), ["ranking.json: changed"]),
    "ranking.json, a value": (
        edit("ranking.json", "trials.1.value", 0.5),
        ["ranking.json: trials[1].value: 0.5; right"],
    ),
    "ranking.json, the best": (edit("ranking.json", "best_trial", 99), ["ranking.json: best_trial: 99; right: "]),
    "ranking.json, the winner": (
        edit("ranking.json", "winner_by_answers.trial", 99),
        ["ranking.json: winner_by_answers.trial: 99; right: "],
    ),
    # Trials
    "settings.json": (
        edit("trials/0001/settings.json", "grpo.lr", 0.5),
        ["trials/0001/settings.json: grpo.lr: 0.5; ri"],
    ),
    "settings.json, a byte": (append("trials/0001/settings.json"), ["trials/0001/settings.json: changed"]),
    "study.json": (edit("trials/0001/study.json", "value", 0.5), ["trials/0001/study.json: trial 1.value: 0.5; right"]),
    "epochs.jsonl, val_loss": (
        edit("trials/0001/epochs.jsonl", "val_loss", 0.5),
        ["trials/0001/epochs.jsonl: epoch 1: val_loss: 0.5; right: "],
    ),
    "epochs.jsonl, a number of the warm-up": (
        edit("trials/0001/epochs.jsonl", "train_loss", 0.5),
        ["trials/0001/epochs.jsonl: epoch 1.train_loss: 0.5; right: "],
    ),
    "epochs.jsonl, a byte": (append("trials/0001/epochs.jsonl", b" "), ["trials/0001/epochs.jsonl: not readable"]),
    "TensorBoard": (flip("tensorboard/trial-0001/*"), ["tensorboard/trial-0001/events", "changed"]),
    # Checkpoints
    "manifest, val_loss": (
        edit("trials/0001/best/*/manifest.json", "metrics.val_loss", 0.5),
        ["trials/0001/best/step-0003/manifest.json: metrics.val_loss: 0.5; right: "],
    ),
    "manifest, another metric": (
        edit("trials/0001/best/*/manifest.json", "metrics.kl", 0.5),
        ["manifest.json: metrics.kl: 0.5; right: "],
    ),
    "manifest, trial": (edit("trials/0001/best/*/manifest.json", "trial", 3), ["manifest.json: trial: 3; right: 1"]),
    "manifest, seed": (edit("trials/0001/best/*/manifest.json", "seed", 3), ["manifest.json: seed: 3; right: 0"]),
    "manifest, settings": (
        edit("trials/0001/best/*/manifest.json", "settings.grpo.lr", 0.5),
        ["manifest.json: settings.grpo.lr: 0.5; right: "],
    ),
    "manifest, warm-up": (
        edit("trials/0001/best/*/manifest.json", "rce.sha256", "0" * 64),
        ["manifest.json: rce.sha256: ", "0000"],
    ),
    "manifest, data": (
        edit("trials/0001/best/*/manifest.json", "data_fingerprint", "0" * 64),
        ["manifest.json: data_fingerprint: ", "0000"],
    ),
    "manifest, versions": (
        edit("trials/0001/best/*/manifest.json", "versions.torch", "1.0"),
        ["trials/0001/best/step-0003/manifest.json: changed"],
    ),
    "config, heads 4 to 8": (
        edit("trials/0001/best/*/config.json", "selector.heads", 8),
        ["step-0003/config.json: its"],
    ),
    "weights": (flip(f"trials/0001/best/*/{WEIGHTS_FILE}"), ["step-0003/model.safetensors: its SHA-256 is not"]),
    "file added to a checkpoint": (
        lambda run: (run / "trials/0001/best/step-0003/more").touch(),
        ["trials/0001/best/step-0003/more: added"],
    ),
    "checkpoint gone": (remove("trials/0001/best/step-*"), ["trials/0001/best/step-0003/manifest.json: missing"]),
    "trial gone": (remove("trials/0001"), ["trials/0001/epochs.jsonl: missing", "trials/0001/settings.json: missing"]),
    "state added": (
        lambda run: shutil.copytree(run / "trials/0001/best", run / "trials/0001/resume"),
        ["trials/0001/resume/step-0003/manifest.json: added"],
    ),
    "warm-up, report": (edit("rce/*/manifest.json", "reports.0.kl", 0.5), ["/manifest.json: epoch 1.kl: 0.5; right"]),
    "warm-up, key": (edit("rce/*/manifest.json", "key.settings.seed", 9), ["manifest.json: key: that of"]),
    "warm-up, weights": (flip(f"rce/*/{WEIGHTS_FILE}"), ["rce/", "model.safetensors: its SHA-256 is not"]),
    # Finalists
    "finalist, result": (edit("finalists/*/result.json", "val_loss", 0.5), ["/result.json: "]),
    "finalist, settings": (
        edit("finalists/*/settings.json", "grpo.lr", 0.5),
        ["/settings.json: grpo.lr: 0.5; right: "],
    ),
    "finalist, manifest": (
        edit("finalists/*/best/*/manifest.json", "metrics.val_reward", 0.5),
        ["/best/step-0003/manifest.json: metrics.val_reward: 0.5; right: "],
    ),
    "finalist gone": (
        remove("finalists/*"),
        ["/result.json: missing", "row 'trial "],
    ),
    # The evaluation
    "interval": (edit(TABLE, "rows.1.mean.low", 0.5), [f"{TABLE}: rows[1].mean.low: 0.5; right: "]),
    "value of a shot": (edit(TABLE, "rows.1.shots.0.value", 0.9), [f"{TABLE}: rows[1].shots[0].value: 0.9; right: "]),
    "p": (table_row("trial", "minus_baseline.p", 0.001), [f"{TABLE}: rows[", ".minus_baseline.p: 0.001; right: "]),
    "rho": (edit(TABLE, "correlation.rho", -0.99), [f"{TABLE}: correlation.rho: -0.99; right: "]),
    "winner": (edit(TABLE, "winner.row", "random"), [f'{TABLE}: winner.row: "random"; right: "trial ']),
    "sentence": (edit(TABLE, "winner.sentence", "x"), [f'{TABLE}: winner.sentence: "x"; right: "']),
    "setting": (edit(TABLE, "settings.seed", 5), [f"{TABLE}: settings.seed: 5; right: 0"]),
    "setting without effect": (
        edit(TABLE, "settings.failure_limit", 0.5),
        [f"{TABLE}: settings.failure_limit: 0.5; right: 0.05"],
    ),
    "count": (edit(TABLE, "work_items", 5), [f"{TABLE}: work_items: 5; right: "]),
    "race": (edit(TABLE, "stages.0.asked", 5), [f"{TABLE}: stages[0].asked: 5; right: "]),
    "train row": (edit(TABLE, "rows.0.train.mean.value", 0.9), [f"{TABLE}: rows[0].train.mean.value: 0.9; right: "]),
    "checkpoint of a row": (table_row("trial", "checkpoint", "0" * 64), [f"{TABLE}: rows[", ".checkpoint: "]),
    "evaluation.json, a byte": (append(TABLE), [f"{TABLE}: changed"]),
    "evaluation gone": (remove(TABLE), [f"{TABLE}: missing"]),
    # Answers
    "row": (answer("row", "similarity"), [f"{ANSWERS}: line ", '.row: "similarity"; right: "trial ']),
    "split": (answer("split", "train"), [f"{ANSWERS}: line ", '.split: "train"; right: "test"']),
    "query": (answer("query", 10**6), [f"{ANSWERS}: line ", ".query: 1000000; right: "]),
    "item": (answer("item", -3), [f"{ANSWERS}: line ", ".item: -3; right: "]),
    "shots": (answer("shots", 77), [f"{ANSWERS}: line ", ".shots: 77; right: 2"]),
    "draw": (answer("draw", 9), [f"{ANSWERS}: line ", ".draw: 9; right: 0"]),
    "demonstrations": (answer("demonstrations", (1, 2)), [f"{ANSWERS}: line ", ".demonstrations[0]: 1; right: "]),
    "text": (answer("text", "no such answer"), [f"{ANSWERS}: "]),
    "accuracy": (answer("accuracy", 0.3), [f"{ANSWERS}: line ", ".accuracy: 0.3; right: 1.0"]),
    "failure": (answer("failure", "crash"), [f"{ANSWERS}: line ", '.failure: "crash"; right: null']),
    "reason": (answer("reason", "none"), [f"{ANSWERS}: line ", '.reason: "none"; right: null']),
    # Collected data, the seal, and files
    "embeddings": (data("embeddings.parquet"), ["embeddings.parquet: changed"]),
    "beams": (data("beams.parquet"), ["beams.parquet: changed"]),
    "seal": (edit(SEAL, "trials.0", "0" * 64), [f"{SEAL}: "]),
    "seal gone": (remove(SEAL), [f"{SEAL}: missing"]),
    "trial copied": (
        lambda run: shutil.copytree(run / "trials/0001", run / "trials/0001-copy"),
        ["trials/0001-copy/settings.json: added"],
    ),
    "epoch copied": (
        lambda run: shutil.copytree(run / "trials/0001/best/step-0003", run / "trials/0001/best/step-copy"),
        ["trials/0001/best/step-copy/manifest.json: added"],
    ),
    "file added": (lambda run: (run / "trials/notes.txt").touch(), ["trials/notes.txt: added"]),
}
SPACE_OR_DATA = ("run.json", "space.yaml", "settings.json", "finalist", "embeddings", "beams")
"""Changes that only the space or the data tells in full. These get a plan of their own."""
ORDER = list(CHANGES)
BY_ANSWERS = {"ranking.json, a value", "ranking.json, the best", "ranking.json, the winner"}
BY_ANSWERS |= set(ORDER[ORDER.index("interval") : ORDER.index("reason") + 1])
"""Changes that only the answers tell in full."""
HASHED = {"run.json, versions", "settings.json", "ranking.json, the best", "winner", "text", "beams"}

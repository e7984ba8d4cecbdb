"""What must hold of a run that was killed and resumed, against the same run left alone."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
from optuna.trial import TrialState
from tensorboardX.proto.event_pb2 import Event

from selector.errors import UserError
from sweep.results.evaluations import DECLARED
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from sweep.study.summaries import SLOT
from sweep.trials.checkpoints import read_checkpoint

TIMES = ("duration", "attempt", "worker", "worker_deaths")  # of a ranking's trials: where and when, not what


@dataclass
class Findings:
    """Counts that must be 0, and everything else that was wrong, in words.

    `leftovers` are hidden temporary files, which no reader takes for an artifact: counted, not forbidden.
    """

    lost: int = 0
    duplicated: int = 0
    orphans: int = 0
    leftovers: int = 0
    unequal: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing at all was wrong."""
        return not (self.lost or self.duplicated or self.orphans or self.unequal or self.problems)


def study_of(paths: RunPaths) -> optuna.Study:
    return optuna.load_study(study_name=paths.name, storage=f"sqlite:///{paths.study_file}")


def inspect(run: Path, reference: Path, budget: int) -> Findings:
    """Everything that can be found out about a finished run."""
    paths, found = RunPaths.at(run), Findings()
    trials = study_of(paths).get_trials()
    numbers = Counter(trial.number for trial in trials)
    found.lost = len(set(range(budget)) - set(numbers))
    places = Counter((plan["configuration"], plan["repeat"]) for plan in (t.user_attrs[SLOT] for t in trials))
    found.duplicated = sum(count - 1 for counts in (numbers, places) for count in counts.values())
    found.duplicated += max(0, len(trials) - budget)
    found.orphans = sum(not trial.state.is_finished() for trial in trials)
    for trial in trials:
        _check_epochs(paths, trial, found)
    _check_artifacts(paths, found)
    _compare(paths, RunPaths.at(reference), found)
    return found


def _check_epochs(paths: RunPaths, trial: optuna.trial.FrozenTrial, found: Findings) -> None:
    """The history holds each epoch once, as the study does, and no epoch ever gave two values."""
    name = f"trial {trial.number}"
    own = paths.trial(trial.number)
    if trial.state is TrialState.FAIL:
        found.problems.append(f"{name} failed: {trial.user_attrs.get('reason')}")
        return
    try:
        history = [json.loads(line) for line in own.history_file.read_text().splitlines()]
    except (OSError, ValueError) as error:
        found.problems.append(f"{name}: {own.history_file.name} cannot be read ({error})")
        return
    steps = [entry["step"] for entry in history]
    found.duplicated += len(steps) - len(set(steps))
    if steps != list(range(1, len(steps) + 1)):
        found.problems.append(f"{name}: {own.history_file.name} has steps {steps}")
    stored = trial.intermediate_values
    if list(stored) != list(range(1, len(stored) + 1)):
        found.problems.append(f"{name}: the study has steps {list(stored)}")
    if trial.state is TrialState.COMPLETE and len(steps) != len(stored):
        found.problems.append(f"{name}: {len(steps)} epochs in its history, {len(stored)} in the study")
    values = {entry["step"]: entry["val_loss"] for entry in history}
    for step, value in stored.items():
        if not _same(values.get(step), value):
            found.problems.append(f"{name}, epoch {step}: history {values.get(step)}, study {value}")
    for step, value in _told(own.events_folder):
        if not math.isclose(value, values.get(step, value), rel_tol=1e-6):  # events are float32
            found.duplicated += 1
            found.problems.append(f"{name}, epoch {step}: told once as {value}, kept as {values[step]}")


def _same(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return first == second or (not math.isfinite(first) and not math.isfinite(second))


def _told(folder: Path) -> Iterator[tuple[int, float]]:
    """Every val_loss that any worker ever told TensorBoard, repeated epochs and all; a torn end is skipped."""
    for file in folder.glob("events.*"):
        content = file.read_bytes()
        place = 0
        while place + 12 <= len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            record = content[place + 12 : place + 12 + length]
            place += 16 + length
            if place > len(content):
                break
            event = Event.FromString(record)
            for value in event.summary.value:
                if value.tag == "Validation/val_loss":
                    yield event.step, value.simple_value


def _check_artifacts(paths: RunPaths, found: Findings) -> None:
    run = paths.root.local()
    folders = [*run.glob("rce/[!.]*/"), *run.glob("*/*/best/step-*"), *run.glob("*/*/resume/*")]
    for folder in folders:
        if folder.parent.name == "resume":
            found.problems.append(f"{folder.relative_to(run)} is left, though its trial has ended")
        try:
            read_checkpoint(stored_at(folder))
        except UserError as error:
            found.problems.append(str(error))
    for part in paths.shared.answers_folder.local().glob("part-*"):
        try:
            pq.read_table(part)
        except (OSError, ValueError) as error:
            found.problems.append(f"{part}: {error}")
    hidden = [file for file in run.parent.rglob(".*") if paths.tune_folder.local() not in file.parents]
    found.leftovers = sum(not file.name.endswith(".lock") for file in hidden)


def _compare(paths: RunPaths, reference: RunPaths, found: Findings) -> None:
    for what, of in (("evaluation.json", _evaluation), ("ranking.json", _ranking), ("study", _study)):
        if of(paths) != of(reference):
            found.unequal.append(what)
    for what, pattern in (("checkpoints", "*/*/best/step-*"), ("shared warm-ups", "rce/[!.]*/")):
        if _weights(paths, pattern) != _weights(reference, pattern):
            found.unequal.append(what)


def _evaluation(paths: RunPaths) -> Any:
    file = paths.evaluation(DECLARED).file
    return json.loads(file.read_bytes()) if file.exists() else None


def _ranking(paths: RunPaths) -> Any:
    ranking = json.loads(paths.ranking_file.read_bytes())
    for trial in ranking["trials"]:
        for name in TIMES:
            trial.pop(name, None)
    return ranking


def _study(paths: RunPaths) -> list[tuple[Any, ...]]:
    return [
        (t.number, t.params, t.state, repr(t.intermediate_values), t.value, t.user_attrs.get("standing"))
        for t in study_of(paths).get_trials()
    ]


def _weights(paths: RunPaths, pattern: str) -> dict[str, str]:
    run = paths.root.local()
    return {
        str(folder.relative_to(run)): json.loads((folder / "manifest.json").read_bytes())["sha256"]
        for folder in run.glob(pattern)
    }

"""What a run has cost, and what sharing, storing and pruning saved."""

from __future__ import annotations

from collections.abc import Sequence

from selector.reports import Stage
from sweep.evaluation.records import Evaluation
from sweep.evaluation.wording import counted
from sweep.results.overview.model import Block, Column, Format, Section, Table, Text, Value
from sweep.results.overview.sources import Sources
from sweep.runs.driver import Phase, Spent
from sweep.study import TrialState

ANSWERING = (Phase.COLLECTING, Phase.EVALUATING)


def cost_section(sources: Sources) -> Section:
    """Time by phase, prompts, training and GPU hours."""
    blocks: list[Block] = [_phases(sources), _training(sources)]
    if sources.evaluation is not None:
        blocks.insert(1, _prompts(sources.evaluation))
    return Section("cost", "Cost", tuple(blocks))


def _spent(sources: Sources) -> tuple[Spent, ...]:
    record = sources.status.driver.record
    return () if record is None else record.spent


def _phases(sources: Sources) -> Table | Text:
    """Seconds of each phase over all drivers of the run, with the prompts of those that ask the model."""
    spent = _spent(sources)
    if not spent:
        return Text(("No driver has written down how long its phases took.",))
    columns = (
        Column("phase", "phase"),
        Column("seconds", "seconds", Format.SECONDS),
        Column("answered", "prompts answered", Format.COUNT),
        Column("reused", "known before", Format.COUNT),
        Column("gpu_hours", "GPU hours", Format.NUMBER),
    )
    rows = tuple(
        (
            one.phase.value,
            one.seconds,
            one.answered if one.phase in ANSWERING else None,
            one.reused if one.phase in ANSWERING else None,
            _gpu_hours_of_answers(sources, one),
        )
        for one in spent
    )
    total = ("all", sum(one.seconds for one in spent), sum(one.answered for one in spent), _reused(spent), None)
    note = "Over all commands that worked on this run. A prompt whose answer was known was not asked again."
    return Table("phases", "Time and prompts by phase", columns, (*rows, total), notes=(note,))


def _reused(spent: Sequence[Spent]) -> int:
    return sum(one.reused for one in spent)


def _gpu_hours_of_answers(sources: Sources, spent: Spent) -> float | None:
    """Seconds of the phase times the GPUs of its workers. None where their number was left to the cluster."""
    vlm = sources.space.vlm
    if vlm is None or spent.phase not in ANSWERING:
        return None
    if not vlm.workers.gpus:
        return 0.0
    return None if vlm.workers.count is None else spent.seconds * vlm.workers.count * vlm.workers.gpus / 3600


def _prompts(evaluation: Evaluation) -> Table:
    """What the rows of the evaluation needed, and how much of it was the same prompt."""
    columns = (
        Column("questions", "questions", Format.COUNT),
        Column("rows", "rows", Format.COUNT),
        Column("prompts", "prompts of all rows", Format.COUNT),
        Column("different", "different ones", Format.COUNT),
        Column("saved", "saved by sharing", Format.SHARE),
        Column("dropped", "rows dropped after it"),
    )
    rows = tuple(
        (
            stage.questions,
            stage.rows,
            stage.prompts,
            stage.asked,
            1 - stage.asked / stage.prompts if stage.prompts else None,
            ", ".join(stage.dropped),
        )
        for stage in evaluation.stages
    )
    return Table("prompts", "Prompts of the evaluation, by stage of the race", columns, rows)


def _training(sources: Sources) -> Table:
    """Trials and their epochs."""
    rows = [row for row in sources.rows if row.duration is not None]
    seconds = sum(row.duration or 0.0 for row in rows)
    epochs = [one for reports in sources.epochs.values() for one in reports]
    shared = _shared_epochs(sources)
    full = sum(sources.space.epochs())
    pruned = [row for row in sources.rows if row.state is TrialState.PRUNED]
    left = sum(max(0, full - (row.last_step or 0)) for row in pruned)
    found: list[tuple[str, Value, str]] = [
        ("trials begun", len(sources.rows), ""),
        ("seconds of all ended trials", round(seconds, 1), "added up, though several may have run at a time"),
        ("wall-clock seconds of the trials", _wall(sources), "from the start of the first to the end of the last"),
        ("epochs", len(epochs), f"{len(epochs) - shared} trained, {shared} taken from a warm-up that trials share"),
        ("seconds per epoch of GRPO", _mean(sources), "in training, without validation and storing"),
        ("epochs that pruning saved", left, f"{counted(len(pruned), 'trial')} of up to {full} epochs"),
        ("GPU hours of the trials", round(seconds * sources.space.resources.gpus / 3600, 3), _gpus(sources)),
    ]
    columns = (Column("what", "training"), Column("value", "", Format.NUMBER), Column("about", ""))
    return Table("training", "Training", columns, tuple(found))


def _gpus(sources: Sources) -> str:
    gpus = sources.space.resources.gpus
    return "trials run on the CPU" if not gpus else f"seconds of all trials, times {gpus:g} GPUs of each"


def _shared_epochs(sources: Sources) -> int:
    """Epochs of RCE that a trial did not train itself, because another one of the same warm-up had."""
    seen: set[str] = set()
    shared = 0
    for row in sorted(sources.rows, key=lambda row: row.number):
        digest = row.standing.rce_digest
        if digest in seen:
            shared += sum(one.stage is Stage.RCE for one in sources.epochs.get(row.number, ()))
        elif digest is not None:
            seen.add(digest)
    return shared


def _wall(sources: Sources) -> float | None:
    starts = [one.datetime_start for one in sources.trials if one.datetime_start is not None]
    ends = [one.datetime_complete for one in sources.trials if one.datetime_complete is not None]
    return round((max(ends) - min(starts)).total_seconds(), 1) if starts and ends else None


def _mean(sources: Sources) -> float | None:
    seconds = [one.seconds for reports in sources.epochs.values() for one in reports if one.stage is Stage.GRPO]
    return sum(seconds) / len(seconds) if seconds else None

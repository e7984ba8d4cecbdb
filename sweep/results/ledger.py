"""`ledger.jsonl`: how often the questions of a split were asked, by which settings, and by which command.

A look is written down before its answers are seen. So one that fails afterwards counts, and is known as not finished.
What decides whether two looks are at the same questions is the content of the split (`split_digest`), not the run. So
the looks of all runs that stand beside each other can be counted together. A run that is deleted takes its ledger with
it.

Only the driver of a run writes its ledger. The file is replaced as a whole, so that no reader sees half of a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

from pydantic import Field, ValidationError

from selector.data import Dataset
from selector.settings import FrozenModel
from sweep.errors import RunError
from sweep.evaluation.wording import counted
from sweep.runs.paths import RunPaths
from sweep.settings.evaluation import SplitName
from sweep.storage.hashes import canonical_hash
from sweep.storage.outage import is_outage
from sweep.storage.path import StoredPath

HELD_OUT = "held-out"
LEDGERS = "[!.]*/ledger.jsonl"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class LookState(StrEnum):
    """Lines of one look: it begins, and it has ended as it should."""

    STARTED = "started"
    FINISHED = "finished"


class Look(FrozenModel):
    """One line of the ledger.

    Attributes:
        look: equal on both lines of one look, and on no others.
        time: of writing, ISO 8601 in UTC.
        command: of the command line, such as `evaluate`.
        evaluation: its name. `HELD_OUT` for the comparison on held-out queries, which asks no model.
        split: whose questions are asked.
        split_digest: equal where the split has the same questions, in whatever run.
        settings_digest: equal where the evaluation has the same settings, model and items.
        questions: how many are asked.
        rows: the checkpoint's SHA-256 by row, None for a row without one. Empty for `HELD_OUT`, whose rows are those of
            `ranking.json`.
    """

    look: str = Field(default_factory=lambda: uuid4().hex)
    state: LookState = LookState.STARTED
    time: str = Field(default_factory=_now)
    command: str
    evaluation: str
    split: SplitName
    split_digest: str
    settings_digest: str
    questions: int
    rows: dict[str, str | None]


@dataclass(frozen=True)
class Asked:
    """How often questions were asked.

    Attributes:
        looks: how often.
        settings: by how many different settings.
        unfinished: looks of which no end is known.
    """

    looks: int
    settings: int
    unfinished: int


def split_digest(dataset: Dataset, split: SplitName, items: str) -> str:
    """Equal for equal questions, whatever their pools and beams are, and in whatever order they stand.

    Args:
        dataset: all splits.
        split: whose questions are asked.
        items: fingerprint of the items; of the data where no items are known.
    """
    asked = sorted(dataset.query_items[dataset.indices(split.in_data)].tolist())
    return canonical_hash([items, asked])


def begin_look(paths: RunPaths, look: Look) -> None:
    """Write down that a split is about to be asked."""
    _append(paths, look)


def end_look(paths: RunPaths, look: Look) -> None:
    """Write down that a look has ended as it should. Its fields but state and time are those of its beginning."""
    _append(paths, Look.model_validate({**dict(look), "state": LookState.FINISHED, "time": _now()}))


def read_ledger(file: StoredPath) -> list[Look]:
    """All lines of a ledger, in the order of time. Empty where there is none. Raises RunError if it is damaged."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        if is_outage(error):
            raise
        return []
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Look.model_validate_json(line))
        except ValidationError as error:
            raise RunError(f"{file}: line {number} is damaged: {error.errors()[0]['msg']}") from None
    return found


def count_looks(lines: Iterable[Look]) -> Asked:
    """How often questions were asked, by lines that are all about the same ones."""
    own = list(lines)
    started = {line.look for line in own if line.state is LookState.STARTED}
    finished = {line.look for line in own if line.state is LookState.FINISHED}
    return Asked(len(started), len({line.settings_digest for line in own}), len(started - finished))


def ledgers_beside(paths: RunPaths) -> list[list[Look]]:
    """The ledgers of all other runs in the run's folder. One that is damaged is left out: it is not this run's."""
    found = []
    for file in paths.root.parent.glob(LEDGERS):
        if file.parent.name != paths.name:
            try:
                found.append(read_ledger(file))
            except RunError:
                continue
    return found


def asked_sentences(own: Sequence[Look], others: Sequence[Sequence[Look]], last: Look) -> list[str]:
    """How often the questions of a look were asked: by its run, and by the runs beside it if they did.

    Args:
        own: the ledger of the look's run, whose split is always the same.
        others: the ledgers of the runs beside it.
        last: the look.
    """
    mine = [look for look in own if look.split is last.split]
    asked = count_looks(mine)
    unfinished = f" ({asked.unfinished} of them not finished)" if asked.unfinished else ""
    lines = [f"The {last.split} split was asked {_times(asked)} by this run{unfinished}."]
    if last.split is not SplitName.TEST:
        test = count_looks(look for look in own if look.split is SplitName.TEST)
        lines.append(f"The test split was {f'asked {_times(test)}' if test.looks else 'not asked'} by this run.")
    same = [[look for look in ledger if look.split_digest == last.split_digest] for ledger in others]
    if elsewhere := [ledger for ledger in same if ledger]:
        every = count_looks([*mine, *(look for ledger in elsewhere for look in ledger)])
        runs = counted(len(elsewhere), "other run")
        lines.append(f"Together with {runs} beside it, the same questions were asked {_times(every)}.")
    return lines


def _times(asked: Asked) -> str:
    times = "once" if asked.looks == 1 else f"{asked.looks} times"
    return f"{times}, with {asked.settings} {'setting' if asked.settings == 1 else 'different settings'}"


def _append(paths: RunPaths, look: Look) -> None:
    read_ledger(paths.ledger_file)  # a damaged ledger is not written over
    before = paths.ledger_file.read_text() if paths.ledger_file.exists() else ""
    paths.ledger_file.write_text(before + look.model_dump_json() + "\n")

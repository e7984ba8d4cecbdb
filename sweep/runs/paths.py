"""Every path of a run folder, and the atomic writes into it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sweep.storage import mirror
from sweep.storage.scratch import cache_folder


@dataclass(frozen=True)
class RunPaths:
    """Names all files of one run. `root` is the run folder; its name is the run's name.

    Where the run is kept elsewhere, `root` is a scratch folder that stands for it (`sweep.storage.mirror`).
    """

    root: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.root.name

    @property
    def shown(self) -> str:
        """The run folder as people call it: a path or a URI."""
        return mirror.shown(self.root)

    @property
    def run_file(self) -> Path:
        """What the run is: resolved space, data fingerprint, versions, storage. Written before the first trial."""
        return self.root / "run.json"

    @property
    def space_file(self) -> Path:
        """The search space as the user wrote it."""
        return self.root / "space.yaml"

    @property
    def study_file(self) -> Path:
        """Optuna's SQLite file, where the storage is not elsewhere."""
        return self.root / "study.db"

    @property
    def log_file(self) -> Path:
        """Everything Ray, Tune and Optuna have to say."""
        return self.root / "run.log"

    @property
    def ranking_file(self) -> Path:
        """The final table. Written last: its presence means that the run has ended."""
        return self.root / "ranking.json"

    @property
    def lock_file(self) -> Path:
        """Held by the one driver of the run."""
        return self.root / "driver.lock"

    @property
    def rce_folder(self) -> Path:
        """RCE artifacts by content hash."""
        return self.root / "rce"

    @property
    def tune_folder(self) -> Path:
        """Tune's own files; nothing of ours depends on them."""
        return self.root / "tune"

    @property
    def trials_folder(self) -> Path:
        """One folder per trial."""
        return self.root / "trials"

    @property
    def finalists_folder(self) -> Path:
        """Finalists that were trained again under fresh seeds, one folder each."""
        return self.root / "finalists"

    @property
    def evaluation_folder(self) -> Path:
        """The answers of the vision-language model that the ranking rests on."""
        return self.root / "evaluation"

    @property
    def evaluation_file(self) -> Path:
        """The evaluation's table and statistics. Written after the answers: its presence means that it is complete."""
        return self.evaluation_folder / "evaluation.json"

    @property
    def answers_file(self) -> Path:
        """Every answer behind the table, one line per row, question and number of shots."""
        return self.evaluation_folder / "answers.parquet"

    @property
    def shared(self) -> SharedPaths:
        """What this run shares with those beside it."""
        return SharedPaths.beside(self.root.parent)

    def trial(self, number: int) -> TrialPaths:
        """Paths of one trial."""
        return TrialPaths(self.trials_folder / f"{number:04d}")

    def finalist(self, number: int, seed: int) -> TrialPaths:
        """Paths of a trial's configuration trained again under another seed."""
        return TrialPaths(self.finalists_folder / f"{number:04d}-seed-{seed}")


@dataclass(frozen=True)
class SharedPaths:
    """What the runs of one folder share, by content, so that nothing is made twice.

    Attributes:
        root: of what is shared.
        scratch: where demo items are made if the runs have none yet; None: among what is shared. For commands that
            only look.
    """

    root: Path
    scratch: Path | None = None

    @classmethod
    def beside(cls, runs: Path, scratch: Path | None = None) -> SharedPaths:
        """Of the runs in this folder. No run can have this name: it begins with an underscore."""
        return cls(runs / "_shared", scratch)

    @property
    def answers_folder(self) -> Path:
        """Answers of vision-language models: what was asked once is not asked again."""
        return self.root / "answers"

    def items_folder(self, digest: str) -> Path:
        """Demo items, by what they are made from. They can be made anywhere, so no storage elsewhere keeps them."""
        root = cache_folder() if mirror.is_mirrored(self.root) else self.root
        shared = root / "items" / digest[:16]
        return shared if self.scratch is None or shared.exists() else self.scratch / digest[:16]

    def data_folder(self, digest: str) -> Path:
        """Collected data, by everything that it depends on."""
        return self.root / "data" / digest[:16]


@dataclass(frozen=True)
class TrialPaths:
    """Files of one trial."""

    root: Path

    @property
    def history_file(self) -> Path:
        """Reports of all finished epochs, one JSON object per line."""
        return self.root / "epochs.jsonl"

    @property
    def resume_folder(self) -> Path:
        """States between epochs, one folder per step; the highest counts. Removed when the trial has ended."""
        return self.root / "resume"

    @property
    def best_folder(self) -> Path:
        """The best epochs by validation, one checkpoint folder each."""
        return self.root / "best"

    @property
    def events_folder(self) -> Path:
        """TensorBoard events."""
        return self.root / "tensorboard"

    @property
    def result_file(self) -> Path:
        """How a finalist's training ended. Its presence means that it has."""
        return self.root / "result.json"

    def epoch(self, step: int) -> Path:
        """Checkpoint of one epoch, counted over both stages."""
        return self.best_folder / f"step-{step:04d}"


def write_json(file: Path, value: Any, *, private: bool = False) -> None:  # noqa: ANN401 (any JSON value)
    """Write atomically: a reader sees the old file or the new one, never a part. `private`: for the owner alone."""
    with atomic_file(file, private=private) as temporary, temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")


@contextmanager
def atomic_file(file: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary file beside `file` that replaces it when the block ends without an error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid4().hex}")
    # Not mkstemp, whose files are their owner's alone: what is exported is for everybody whom umask lets in.
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    try:
        yield temporary
        os.fsync(descriptor)  # of the file, not of what wrote to it
        temporary.replace(file)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _name(error, str(temporary), file)
        raise
    finally:
        os.close(descriptor)
    mirror.push(file)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that becomes it when the block ends without an error.

    A folder that already stands at `target` is kept and the new one dropped: our folders are named by their content (a
    hash, or a step that determinism makes the same), so an orphan worker and its successor cannot disturb each other.
    """
    temporary = target.parent / f".{target.name}.{uuid4().hex}"
    temporary.mkdir(parents=True)  # not mkdtemp: what stands here in the end is for everybody whom umask lets in
    try:
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    except OSError as error:
        _name(error, str(temporary), target)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    mirror.push_folder(target)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that nobody ever sees a part of it under its name. One that is not there is no error."""
    mirror.delete(folder)
    doomed = folder.parent / f".{folder.name}.{uuid4().hex}"
    try:
        folder.rename(doomed)
    except OSError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _name(error: BaseException, temporary: str, file: Path) -> None:
    """Have an error of the system name the file that was to be written, where it names none or a temporary one."""
    if isinstance(error, OSError) and (error.filename is None or str(error.filename).startswith(temporary)):
        error.filename, error.filename2 = str(file), None

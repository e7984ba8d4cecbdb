"""Every path of a run folder, and the atomic writes into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

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


def place_of_data(paths: RunPaths, folder: Path) -> Path:
    """How a run remembers where its data is: absolute, or relative to the folder of runs where that is elsewhere."""
    return folder.relative_to(paths.root.parent) if mirror.is_mirrored(folder) else folder.absolute()


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file; `%`, `?` and `#` in its path are quoted, or they would name another file."""
    return f"sqlite:///{quote(str(path), safe='/ ')}"

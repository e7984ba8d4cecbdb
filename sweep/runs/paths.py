"""Every path of a run folder, and of what the runs of one folder share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from sweep.storage.open import open_run_folder
from sweep.storage.path import StoredPath
from sweep.storage.scratch import cache_folder

DRIVER_MARK = "driver-"
FINALISTS = "finalists"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class RunPaths:
    """Names all files of one run.

    Attributes:
        root: the run folder. Its name is the run's name.
        storage: the database that the user named for the study, for a run that keeps it outside its folder.
    """

    root: StoredPath
    storage: str | None = field(default=None, repr=False)

    @classmethod
    def at(cls, place: str | Path) -> RunPaths:
        """The run whose folder has this path or URI, opened for this process. Raises RunError as `open_run_folder`."""
        return cls(open_run_folder(place))

    @property
    def name(self) -> str:
        """The run's name."""
        return self.root.name

    @property
    def shown(self) -> str:
        """The run folder as people call it: a path or a URI."""
        return self.root.shown

    @property
    def run_file(self) -> StoredPath:
        """What the run is: resolved space, data fingerprint, versions, storage. Written before the first trial."""
        return self.root / "run.json"

    @property
    def space_file(self) -> StoredPath:
        """The search space as the user wrote it."""
        return self.root / "space.yaml"

    @property
    def study_file(self) -> StoredPath:
        """Optuna's SQLite file, where the storage is not elsewhere."""
        return self.root / "study.db"

    @property
    def log_file(self) -> StoredPath:
        """What happened to the run, line by line with its time. What Ray prints is in `ray.log` beside it."""
        return self.root / "run.log"

    @property
    def ranking_file(self) -> StoredPath:
        """The final table. Written last: its presence means that the run has ended."""
        return self.root / "ranking.json"

    @property
    def seal_file(self) -> StoredPath:
        """The hashes of all that is final, written when the run has ended."""
        return self.root / "seal.json"

    @property
    def report_file(self) -> StoredPath:
        """The report as a page. It is made from the other files and can be made again."""
        return self.root / "report.html"

    @property
    def lock_file(self) -> StoredPath:
        """Held by the one driver of the run."""
        return self.root / "driver.lock"

    def driver_mark(self, session: str) -> StoredPath:
        """There while this driver works on the run. Who sees it sees this very folder, and not one of its name."""
        return self.root / f"{DRIVER_MARK}{session}"

    @property
    def driver_marks(self) -> list[StoredPath]:
        """Marks of all drivers that did not remove theirs."""
        return self.root.glob(f"{DRIVER_MARK}*")

    @property
    def driver_file(self) -> StoredPath:
        """What the driver does, written every few seconds while it lives, and how it ended."""
        return self.root / "driver.json"

    @property
    def stop_file(self) -> StoredPath:
        """Asks the driver to end. Its presence is the request."""
        return self.root / "stop.json"

    @property
    def removed_file(self) -> StoredPath:
        """There while a run that is kept elsewhere is being removed."""
        return self.root / "removed.json"

    @property
    def rce_folder(self) -> StoredPath:
        """RCE artifacts by content hash."""
        return self.root / "rce"

    @property
    def given_folder(self) -> StoredPath:
        """Copies of selectors from elsewhere that the space names, by the hash of their weights."""
        return self.root / "given"

    @property
    def tune_folder(self) -> StoredPath:
        """Tune's own files; nothing of ours depends on them."""
        return self.root / "tune"

    @property
    def trials_folder(self) -> StoredPath:
        """One folder per trial."""
        return self.root / "trials"

    @property
    def tensorboard_folder(self) -> StoredPath:
        """What TensorBoard is pointed at: one folder of events per trial."""
        return self.root / TENSORBOARD

    @property
    def has_begun(self) -> bool:
        """Whether a worker has taken up a trial. The driver keeps records of trials before that."""
        return any(True for _ in self.trials_folder.glob("*/settings.json"))

    @property
    def finalists_folder(self) -> StoredPath:
        """Finalists that were trained again under fresh seeds, one folder each."""
        return self.root / FINALISTS

    @property
    def evaluations_folder(self) -> StoredPath:
        """What the vision-language model answered: one folder per evaluation, by name."""
        return self.root / "evaluations"

    @property
    def main_file(self) -> StoredPath:
        """Names the evaluation that the run's result rests on, where it is not the one that the space declared."""
        return self.evaluations_folder / "main.json"

    @property
    def ledger_file(self) -> StoredPath:
        """Every look at the answers to held-out questions, one JSON object per line. Lines are only added."""
        return self.root / "ledger.jsonl"

    def evaluation(self, name: str) -> EvaluationPaths:
        """Paths of one evaluation."""
        return EvaluationPaths(self.evaluations_folder / name)

    @property
    def bundled_folder(self) -> StoredPath:
        """Data and items that came with a run in a bundle. They serve this run alone: they may be a stranger's."""
        return self.root / "bundled"

    @property
    def bundled_data(self) -> Path | None:
        """The data that came with the run."""
        found = [] if self.root.is_remote else (self.bundled_folder / "data").glob("[!.]*")
        return found[0].local().absolute() if found else None

    @property
    def shared(self) -> SharedPaths:
        """What this run shares with those beside it. One that brought its own data and items shares nothing."""
        return self.shared_with(None)

    def shared_with(self, scratch: Path | None) -> SharedPaths:
        """The same for a command that only looks: `scratch` is where demo items are made if there are none."""
        if not self.root.is_remote and self.bundled_folder.exists():
            return SharedPaths(self.bundled_folder, scratch)
        return SharedPaths.beside(self.root.parent, scratch)

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

    root: StoredPath
    scratch: Path | None = None

    @classmethod
    def beside(cls, runs: StoredPath, scratch: Path | None = None) -> SharedPaths:
        """What the runs in this folder share. No run can have its name: it begins with an underscore."""
        return cls(runs / "_shared", scratch)

    @property
    def answers_folder(self) -> StoredPath:
        """Answers of vision-language models: what was asked once is not asked again."""
        return self.root / "answers"

    def items_folder(self, digest: str) -> Path:
        """Demo items, by what they are made from. They can be made anywhere, so no storage elsewhere keeps them."""
        root = cache_folder() if self.root.is_remote else self.root.local()
        shared = root / "items" / digest[:16]
        return shared if self.scratch is None or shared.exists() else self.scratch / digest[:16]

    @property
    def embedding_parts(self) -> StoredPath:
        """Embeddings of some images or questions each, by content: what was computed once is not computed again."""
        return self.root / "embeddings" / "parts"

    def embeddings_folder(self, digest: str) -> StoredPath:
        """Embeddings of all items of a table, by everything that they depend on."""
        return self.root / "embeddings" / digest[:16]

    def data_folder(self, digest: str) -> StoredPath:
        """Collected data, by everything that it depends on."""
        return self.root / "data" / digest[:16]


@dataclass(frozen=True)
class TrialPaths:
    """Files of one trial."""

    root: StoredPath

    @property
    def history_file(self) -> StoredPath:
        """Reports of all finished epochs, one JSON object per line."""
        return self.root / "epochs.jsonl"

    @property
    def settings_file(self) -> StoredPath:
        """The trial's settings, resolved. A finalist is trained again with them."""
        return self.root / "settings.json"

    @property
    def study_file(self) -> StoredPath:
        """What the study holds of the trial, written as it starts and as it ends. The study can be built from these."""
        return self.root / "study.json"

    @property
    def resume_folder(self) -> StoredPath:
        """States between epochs, one folder per step; the highest counts. Removed when the trial has ended."""
        return self.root / "resume"

    @property
    def best_folder(self) -> StoredPath:
        """The best epochs by validation, one checkpoint folder each."""
        return self.root / "best"

    @property
    def events_folder(self) -> StoredPath:
        """TensorBoard events. TensorBoard calls a run by its folder, so this name is read by people."""
        trials = self.root.parent
        kind = "finalist" if trials.name == FINALISTS else "trial"
        return trials.parent / TENSORBOARD / f"{kind}-{self.root.name}"

    @property
    def result_file(self) -> StoredPath:
        """How a finalist's training ended. Its presence means that it has."""
        return self.root / "result.json"

    def epoch(self, step: int) -> StoredPath:
        """Checkpoint of one epoch, counted over both stages."""
        return self.best_folder / f"step-{step:04d}"


@dataclass(frozen=True)
class EvaluationPaths:
    """Files of one evaluation."""

    root: StoredPath

    @property
    def name(self) -> str:
        """The evaluation's name, unique within its run."""
        return self.root.name

    @property
    def file(self) -> StoredPath:
        """Table and statistics. Written after the answers: its presence means that the evaluation is complete."""
        return self.root / "evaluation.json"

    @property
    def answers_file(self) -> StoredPath:
        """Every answer behind the table, one line per row, question and number of shots."""
        return self.root / "answers.parquet"


def place_of_data(paths: RunPaths, data: StoredPath | Path | None) -> Path | None:
    """How a run remembers where its data is: absolute, or relative to the folder of runs where that is elsewhere.

    Args:
        paths: the run's.
        data: a folder that the runs share, or what the user named.
    """
    if isinstance(data, StoredPath):
        return Path(data.path).relative_to(paths.root.parent.path) if data.is_remote else data.local().absolute()
    return data and data.absolute()


def data_at(paths: RunPaths, place: Path) -> StoredPath | Path:
    """The inverse of `place_of_data`. Data is taken from the run, or from beside it, if it was copied with it."""
    if (bundled := paths.bundled_data) is not None:
        return bundled
    if not place.is_absolute():
        return paths.root.parent / place.as_posix()
    shared = paths.shared.root
    beside = shared / "data" / place.name
    is_collected = place.parts[-3:-1] == (shared.name, "data")
    return beside.local().absolute() if is_collected and not shared.is_remote and beside.exists() else place


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file; `%`, `?` and `#` in its path are quoted, or they would name another file."""
    return f"sqlite:///{quote(str(path), safe='/ ')}"

"""A run that exists, as an object: its trials and curves as data frames, its evaluation, and its best selector.

Everything is read anew when it is asked for, so an object may be kept while the run goes on. Nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selector.model import PointerSelector
from sweep.api.frames import answer_row, data_frame, joined_rows, report_row, result_rows, trial_row
from sweep.errors import RunError
from sweep.evaluation.answer_table import read_answers
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.plan.requests import request_of_run
from sweep.results.evaluations import evaluations, main_evaluation
from sweep.results.export import Exported, ExportOptions, chosen_checkpoint
from sweep.results.export import export as export_checkpoint
from sweep.results.run_verdict import RunVerdict, verdict_of_run
from sweep.runs.find import find_run
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.runs.record import read_record
from sweep.space import SearchSpace
from sweep.storage.open import open_folder
from sweep.study import TrialSummary, read_summaries
from sweep.study.ranking import rank
from sweep.trials.checkpoints import read_checkpoint, read_manifest
from sweep.trials.stored import read_history

if TYPE_CHECKING:
    from pandas import DataFrame

BEST = "best"


@dataclass(frozen=True)
class Best:
    """A stored selector of a run, and where it comes from.

    Attributes:
        trial: its number.
        epoch: over both stages, from 1.
        val_loss: of that epoch, on the validation split.
        chosen: by what it was chosen, for people.
        selector: on the CPU, ready for `select`.
        manifest: the lineage: settings, seed, data, versions, hashes.
    """

    trial: int
    epoch: int
    val_loss: float
    chosen: str
    selector: PointerSelector
    manifest: dict[str, Any]


class Run:
    """One run, as `load_run`, `run` and `resume` give it.

    Every property reads the run's files anew. All of them raise RunError or StudyError where these cannot be read.
    """

    def __init__(self, paths: RunPaths) -> None:
        """Raises RunError if the folder is no run's."""
        self._paths = paths
        read_record(paths)

    def __repr__(self) -> str:
        return f"Run({self.folder!r})"

    @property
    def paths(self) -> RunPaths:
        """All files of the run."""
        return self._paths

    @property
    def name(self) -> str:
        """The run's name."""
        return self._paths.name

    @property
    def folder(self) -> str:
        """The run's folder or URI, as `load_run` takes it."""
        return self._paths.shown

    @property
    def space(self) -> SearchSpace:
        """The search space, with what the command line set."""
        return request_of_run(self._paths).space

    @property
    def finished(self) -> bool:
        """Whether the run has ended: its ranking is written."""
        return self._paths.ranking_file.exists()

    @property
    def trials(self) -> list[TrialSummary]:
        """All trials: the complete ones first, best on top, then the others by number."""
        record = read_record(self._paths)
        return rank(read_summaries(record.storage_url(self._paths), record.study))

    def trials_dataframe(self) -> DataFrame:
        """One row per trial, in the order of `trials`.

        Columns: `trial`, `state`, `val_loss` (None unless complete), `best_epoch`, `verdicts`, `seed`,
        `seconds`, `reason`, and `params.<path>` for every sampled parameter (None where it was not in use).

        Raises:
            RunError: pandas is not installed.
        """
        return data_frame([trial_row(row) for row in self.trials])

    def curves(self) -> DataFrame:
        """One row per trial and stored epoch report, by trial and step.

        Columns: `trial`, `stage` (rce or grpo), `epoch` (within the stage), `step` (over both), then one per metric,
        such as `train_loss`, `val_loss`, `kl`, `advantage_std` (None where the stage has none; losses and KL in nats).

        Raises:
            RunError: pandas is not installed.
            CheckpointError: a trial's record of its epochs is damaged.
        """
        return data_frame(self._epochs(self.trials))

    def frame(self) -> DataFrame:
        """All that trials were and did: one row per trial and epoch, with the trial's columns in each.

        Columns: those of `curves`, then those of `trials_dataframe`, where the trial's own `val_loss` and `seconds` are
        called `trial_val_loss` and `trial_seconds`. A trial without an epoch has one row.

        Raises: as `curves`.
        """
        trials = self.trials
        return data_frame(joined_rows(trials, self._epochs(trials)))

    def _epochs(self, trials: list[TrialSummary]) -> list[dict[str, Any]]:
        numbers = sorted(row.number for row in trials)
        files = ((number, self._paths.trial(number).history_file) for number in numbers)
        return [report_row(number, one) for number, file in files if file.exists() for one in read_history(file)]

    def results(self, evaluation: str | None = None) -> DataFrame:
        """A comparison by answers: one row per row of its table and number of shots, and one for their mean.

        Columns: `row`, `kind`, `trial`, `step`, `rank`, `shots` (a number, or `mean`), `accuracy` with its 95 %
        interval `low` and `high` (fractions), `questions`, `in_best_set`.

        Args:
            evaluation: its name. None: the one that the run's result rests on.

        Raises:
            RunError: there is none of that name, it is damaged, or pandas is not installed.
        """
        return data_frame(list(result_rows(read_evaluation(self._evaluation(evaluation).file))))

    def answers(self, evaluation: str | None = None) -> DataFrame:
        """Every answer behind a comparison: one row per row of its table, question, number of shots and draw.

        Columns: those of `sweep.evaluation.answer_table.AnswerRecord`, such as `row`, `query`, `shots`,
        `demonstrations`, `text` and `accuracy` (a fraction; None where there is no answer).

        Args and raises: as `results`.
        """
        return data_frame([answer_row(one) for one in read_answers(self._evaluation(evaluation).answers_file)])

    def _evaluation(self, name: str | None) -> EvaluationPaths:
        """Raises RunError if there is none."""
        found = {place.name: place for place in evaluations(self._paths)}
        main = main_evaluation(self._paths)
        wanted = main if name is None else found.get(name)
        if wanted is None:
            asked = "evaluation" if name is None else f"evaluation {name!r}"
            raise RunError(f"run {self.name} has no {asked}; it has {', '.join(found) or 'none'}")
        return wanted

    @property
    def evaluation(self) -> Evaluation | None:
        """The comparison by answers that the run's result rests on. None where the model was not asked."""
        place = main_evaluation(self._paths)
        return None if place is None else read_evaluation(place.file)

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """All comparisons by answers, by name, the main one first."""
        return {place.name: read_evaluation(place.file) for place in evaluations(self._paths)}

    @property
    def verdict(self) -> RunVerdict | None:
        """Whether the best trial beats what needs no training, how sure that is, and what comes next.

        None until the run has ended.
        """
        return verdict_of_run(self._paths)

    def best(self, trial: str | int = BEST) -> Best:
        """The best selector: by answers where the run was evaluated, else by val_loss. Its hashes are checked.

        Args:
            trial: `best`, or a number, for that trial's best epoch by val_loss.

        Raises:
            RunError: nothing is complete yet, or there is no such trial.
            CheckpointError: the stored checkpoint is damaged.
        """
        number, source, chosen = chosen_checkpoint(self._paths, str(trial))
        read_checkpoint(source)
        manifest = read_manifest(source)
        selector = PointerSelector.from_pretrained(source.local())
        return Best(number, manifest["step"], manifest["metrics"]["val_loss"], chosen, selector, manifest)

    def export(
        self, out: str | Path, trial: str | int = BEST, epoch: int | None = None, options: ExportOptions | None = None
    ) -> Exported:
        """Write a selector into a new folder, as `sweep export` does.

        Args:
            out: a folder that does not exist or is empty.
            trial: as for `best`.
            epoch: another stored epoch of that trial, counted over both stages.
            options: other forms, and words of the model card.

        Raises:
            RunError: as for `best`, and if `out` is taken or the run was changed.
            CheckpointError: the stored checkpoint is damaged.
        """
        return export_checkpoint(self._paths, str(trial), Path(out), epoch, options)


def load_run(run: str | Path | None = None, *, runs: str | Path = "runs") -> Run:
    """A run that exists, whether it goes on or has ended. Needs neither Ray nor the run's data.

    Args:
        run: its folder, its URI, or its name below `runs`. None: the newest one there.
        runs: the folder or URI that holds the runs.

    Raises:
        RunError: there is no such run.
    """
    return Run(find_run(None if run is None else str(run), open_folder(str(runs))))

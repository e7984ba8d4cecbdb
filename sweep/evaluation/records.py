"""What an evaluation found, as it stands in `evaluation.json`. Accuracies and differences are fractions, not percent.

Legend: S numbers of shots. Tuples over shots follow `Evaluation.shots`. None stands where there was nothing to average.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationError, field_validator, model_validator

from selector.settings import FrozenModel
from sweep.errors import RunError
from sweep.evaluation.row_kinds import RowKind
from sweep.settings.evaluation import LEVEL, EvaluationSettings
from sweep.storage.hashes import canonical_hash
from sweep.storage.outage import is_outage
from sweep.storage.path import StoredPath
from sweep.vlm.work import FailureKind
from sweep.vqa.accuracy import AnswerNormalisation


class Estimate(FrozenModel):
    """A mean over questions with its 95 % interval."""

    value: float
    low: float
    high: float
    questions: int


class Difference(Estimate):
    """A paired difference over the questions that both rows answered.

    Attributes:
        p: two-sided.
        p_holm: corrected over its family (`Evaluation.notes` names the families).
        joint: interval that holds for all differences of the family together (Bonferroni). It is the one for a row
            that was picked among many. None per number of shots, and in tables of earlier versions.
        error: standard error of the value, by clusters (`Bootstrap.errors`). None with fewer than two clusters.
    """

    p: float
    p_holm: float
    joint: tuple[float, float] | None = None
    error: float | None = None

    @property
    def is_sure(self) -> bool:
        """Whether the sign is established at 5 %, multiplicity counted."""
        return self.p_holm <= LEVEL


class TrainRecord(FrozenModel):
    """The row on questions of the train split. `gap`: train minus held-out accuracy, by the ranking measure."""

    shots: tuple[Estimate | None, ...]
    mean: Estimate | None
    gap: Estimate | None


class RowRecord(FrozenModel):
    """One row of the table.

    Attributes:
        rank: place in the table, from 1. Rows dropped by racing come after the others. If finalists were trained
            again, all trials under the seeds of the sweep come after those.
        asked: questions that it saw.
        dropped_after: questions after which racing dropped it. None for the others.
        failures: prompts of this row without an answer.
        short_pools: per number of shots, questions with fewer candidates than that.
        same_as: an earlier row that shows exactly the same demonstrations.
        shots: accuracy per number of shots.
        mean: over the numbers of shots, on questions that have all of them.
        minus_baseline: by the ranking measure. None for the baseline itself.
        minus_baseline_by_shot: one family over all rows and numbers of shots.
        minus_next: by the ranking measure, against `next_row`, the row below it.
        best_p: p of being among the best rows. None for rows that are not compared: dropped by racing, without answers
            to half of the questions, or trials under the seeds of the sweep where finalists were trained again.
        in_best_set: whether it cannot be distinguished from the best.
        other_metrics: mean accuracy per number of shots, then over them, under the metrics that do not rank.
    """

    name: str
    kind: RowKind
    trial: int | None
    step: int | None
    seed: int | None
    val_loss: float | None
    checkpoint: str | None
    rank: int
    asked: int
    dropped_after: int | None
    failures: int
    short_pools: tuple[int, ...]
    same_as: str | None
    shots: tuple[Estimate | None, ...]
    mean: Estimate | None
    ranked_by: Estimate | None
    minus_baseline: Difference | None
    minus_baseline_by_shot: tuple[Difference | None, ...]
    next_row: str | None
    minus_next: Difference | None
    best_p: float | None
    in_best_set: bool
    other_metrics: dict[AnswerNormalisation, tuple[float | None, ...]]
    train: TrainRecord | None


class SeedRecord(FrozenModel):
    """One fresh seed of a finalist: accuracy per number of shots, their mean, and the ranking measure among them."""

    name: str
    seed: int | None
    val_loss: float | None
    checkpoint: str | None
    shots: tuple[float | None, ...]
    mean: float | None
    ranked_by: float | None


class FinalistRecord(FrozenModel):
    """A configuration trained again. Its row in the table is the mean over its seeds.

    Attributes:
        row: that row's name.
        spread: standard deviation between seeds of the ranking measure, n - 1 in the denominator. None below two seeds.
    """

    row: str
    trial: int | None
    seeds: tuple[SeedRecord, ...]
    spread: float | None


class StageRecord(FrozenModel):
    """One stage of the race: questions seen at its end, prompts of its rows, those asked anew, and rows dropped."""

    questions: int
    rows: int
    prompts: int
    asked: int
    dropped: tuple[str, ...]


class CorrelationRecord(FrozenModel):
    """Spearman correlation of val_loss with accuracy over the evaluated rows. Negative is as it should be."""

    rho: float
    p: float
    interval: tuple[float, float] | None
    rows: int


class WinnerRecord(FrozenModel):
    """The best trial and how it stands among the rows.

    Attributes:
        row: its name. None without an evaluated trial.
        trial: its number in the study.
        step: the winning epoch. None for a finalist, whose row is a mean over seeds.
        over_baseline: whether it is better than the baseline at 5 %, multiplicity and spread of seeds counted.
        alone: whether no other row is in the set of the best, spread of seeds counted.
        sentence: for people.
    """

    row: str | None
    trial: int | None
    step: int | None
    over_baseline: bool
    alone: bool
    sentence: str


class SourceRecord(FrozenModel):
    """Whose answers these are. Together with the settings, it makes one evaluation another.

    Attributes:
        model: as the space names it. Two names may stand for one model.
        answers: what can change an answer: the model's identity, precision, prompt, limits of images, decoding.
        items: fingerprint of the questions.
    """

    model: str
    answers: dict[str, Any]
    items: str

    @field_validator("answers")
    @classmethod
    def _hashable(cls, value: dict[str, Any]) -> dict[str, Any]:
        canonical_hash(value)  # a ValueError for NaN and infinity, which no answer depends on
        return value


def settings_digest(settings: EvaluationSettings, source: SourceRecord) -> str:
    """Equal for evaluations that ask the same in the same way, 64 hex digits."""
    named = {**settings.model_dump(mode="json"), "shots": settings.shot_numbers}
    if not settings.rows:  # so that evaluations that were made before there were any keep their digests
        del named["rows"]
    del named["overlap"]  # when something is asked, and not what
    return canonical_hash([named, source.answers, source.items])


class ExampleRecord(FrozenModel):
    """One prompt with its answer, where no answer is correct.

    Attributes:
        prompt_end: the last characters of the prompt's text.
        references: the answers of the annotators, each once.
    """

    item: int
    question: str
    prompt_end: str
    answer: str
    references: tuple[str, ...]


class RulerRecord(FrozenModel):
    """Spearman correlation of a metric on the validation split with accuracy. Lower is better for every metric.

    Attributes:
        metric: its name. Rewards are negated.
        rho: in [-1, 1]. Negative is as it should be. None where one of the two does not vary.
        interval: 95 %. None with too few rows.
        ranked: whether trials were ranked and pruned by it.
    """

    metric: str
    rho: float | None
    interval: tuple[float, float] | None
    ranked: bool


class AuditRecord(FrozenModel):
    """How each metric that costs nothing ranks the evaluated rows.

    Attributes:
        rows: behind the correlations.
        rulers: one per metric.
        conclusion: in a sentence.
    """

    rows: int
    rulers: tuple[RulerRecord, ...]
    conclusion: str


class Evaluation(FrozenModel):
    """Everything that is known about the comparison.

    Attributes:
        source: whose answers these are. None where nobody said.
        shots: numbers of demonstrations.
        questions: how many of the split a row can have seen.
        images: distinct clusters among them, the unit of resampling.
        excluded: candidates taken out of pools for sharing the query's image.
        failures: work items without an answer, by kind.
        failure_labels: images and other labels that failures name, with the number of work items, over all splits.
        rows: in the order of the table.
        notes: what is guaranteed, and how.
        audit: None in evaluations of earlier versions, and where no row was trained.
        example: where nothing was answered correctly.
        sentence: what it shows, the verdict of `sweep.results.verdict`. None in evaluations of earlier versions.
    """

    format: Literal["sweep-evaluation/1"] = "sweep-evaluation/1"
    settings: EvaluationSettings
    shots: tuple[int, ...]
    questions: int
    images: int
    excluded: int
    work_items: int
    failures: dict[FailureKind, int]
    failure_labels: dict[str, int]
    stages: tuple[StageRecord, ...]
    rows: tuple[RowRecord, ...]
    finalists: tuple[FinalistRecord, ...]
    correlation: CorrelationRecord | None
    correlation_note: str
    winner: WinnerRecord
    notes: tuple[str, ...]
    source: SourceRecord | None = None
    audit: AuditRecord | None = None
    example: ExampleRecord | None = None
    sentence: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Evaluation:
        """What tables and `export` rely on: rows are there, are found by their names, and have all numbers of shots."""
        names = {row.name for row in self.rows}
        if not self.rows or len(names) < len(self.rows) or self.shots != self.settings.shot_numbers:
            raise ValueError("rows are missing, two have one name, or shots are not those of the settings")
        named = {self.winner.row, *(one.row for one in self.finalists), *(row.next_row for row in self.rows)} - {None}
        if named - names:
            raise ValueError("a row is named that is not there")
        for row in self.rows:
            by_shot = [row.shots, row.short_pools, row.minus_baseline_by_shot or row.shots]
            by_shot += [row.train.shots] if row.train is not None else []
            others = row.other_metrics.values()
            if any(len(one) != len(self.shots) for one in by_shot) or any(
                len(one) <= len(self.shots) for one in others
            ):
                raise ValueError("a row has other numbers of shots")
            if row.other_metrics.keys() != self.rows[0].other_metrics.keys():
                raise ValueError("rows have different metrics")
        return self

    def row(self, name: str) -> RowRecord:
        """The row of this name. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def write(self, file: StoredPath) -> None:
        """Write atomically, without loss."""
        file.write_json(self.model_dump(mode="json"))


def read_evaluation(file: StoredPath) -> Evaluation:
    """Read what `Evaluation.write` wrote. Raises RunError if it is missing or damaged."""
    try:
        return Evaluation.model_validate_json(file.read_bytes())
    except OSError as error:
        if is_outage(error):
            raise
        raise RunError(f"{file}: missing; `python -m sweep evaluate RUN` makes it") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{file}: damaged, or of another version: {where}: {first['msg']}") from None

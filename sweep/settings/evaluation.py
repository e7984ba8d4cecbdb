"""How selectors are compared by answers. Part of a space, never sampled."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from selector.data import Split
from selector.settings import Fraction, FrozenModel, NonNegativeInt, PositiveInt
from sweep.vqa.accuracy import AnswerNormalisation

LEVEL = 0.05  # of all intervals and tests: 95 %
OWN_ROW = re.compile(r"(trial \d|rce_only)")
"""How the names of rows begin that are made of a run's own selectors."""
ShotNumber = Annotated[int, Field(ge=1, le=64)]


class SplitName(StrEnum):
    """Splits by the names that a space uses."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"

    @property
    def in_data(self) -> Split:
        """What the data set calls it."""
        return Split[self.name]


class Reference(StrEnum):
    """Rows that need no training. Also the names of these rows."""

    NO_DEMONSTRATIONS = "no demonstrations"
    RANDOM = "random"
    SIMILARITY = "similarity"
    RCE_ONLY = "rce_only"


class RacingSettings(FrozenModel):
    """Trials see few questions first. Only those that may still be the best one see the rest.

    Attributes:
        start: questions before the first decision.
        growth: factor between decisions.
        alpha: probability, over all decisions, of losing the best trial. Taken from the table's own 5 %.
    """

    start: Annotated[int, Field(ge=20)] = 100
    growth: Annotated[float, Field(ge=1.25)] = 2.0
    alpha: Annotated[float, Field(gt=0, lt=LEVEL)] = 0.01


class FinalistSettings(FrozenModel):
    """The best trials trained again under fresh seeds, which then decide the winner.

    Attributes:
        count: how many trials.
        seeds: fresh seeds per trial. 0: none is trained again.
    """

    count: PositiveInt = 3
    seeds: NonNegativeInt = 0


class CheckpointRow(FrozenModel):
    """A row for a selector from elsewhere: a folder that `export` wrote, or a checkpoint of Lever-Plus.

    Attributes:
        name: of the row.
        checkpoint: the folder, or the .pt or .ckpt file.
        heads: attention heads of a .pt or .ckpt file, which does not say them (1 in Lever-Plus). Temperature and
            dropout change no pick, so nobody asks for them.
    """

    name: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f\x7f]*$")]
    checkpoint: Path
    heads: PositiveInt | None = None

    @field_validator("name")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if value in set(Reference) or OWN_ROW.match(value):
            raise ValueError(f"name {value!r} is that of a row which an evaluation has by itself; take another one")
        return value


class EvaluationSettings(FrozenModel):
    """Everything about the comparison.

    Attributes:
        shots: numbers of demonstrations: 4 is 1 to 4, a list exactly those.
        samples: questions. The same ones for every row, and those of fewer samples are the first of more. None: all.
        split: whose questions decide.
        top: trials evaluated, best validation loss first.
        epochs_per_trial: epochs evaluated of each trial, best first. Limited by the epochs that are stored.
        train_rows: also ask questions of the train split, for the overfitting gap.
        no_demonstrations: a row that shows the question alone.
        random_draws: independent random selections per question. Their accuracies are averaged.
        metric: which VQA accuracy ranks. The other one is reported beside it.
        baseline: the row that every row is compared to.
        rank_by: `mean` over the shots, or one number of shots.
        racing: None: every row sees every question.
        resamples: bootstrap replicates.
        seed: decides the questions, the random rows and the bootstrap.
        failure_limit: share of work items without an answer above which the evaluation stops. Fewer than 20 results
            are not judged by their share (`sweep.vlm.failure_limit`).
        overlap: ask the model while trials still run, as far as its questions are known by then. Needs room for its
            workers beside the trials. The table is the same.
        finalists: the best trials trained again.
        rows: selectors from elsewhere that are asked beside the trials.
    """

    shots: ShotNumber | tuple[ShotNumber, ...] = 4
    samples: PositiveInt | None = 800
    split: SplitName = SplitName.TEST
    top: PositiveInt = 5
    epochs_per_trial: PositiveInt = 1
    train_rows: bool = False
    no_demonstrations: bool = True
    random_draws: Annotated[int, Field(ge=1, le=20)] = 1
    metric: AnswerNormalisation = AnswerNormalisation.OFFICIAL
    baseline: Reference = Reference.SIMILARITY
    rank_by: Literal["mean"] | ShotNumber = "mean"
    racing: RacingSettings | None = None
    overlap: bool = False
    finalists: FinalistSettings = FinalistSettings()
    rows: tuple[CheckpointRow, ...] = ()
    resamples: Annotated[int, Field(ge=1000, le=100_000)] = 10_000
    seed: NonNegativeInt = 0
    failure_limit: Fraction = 0.05

    @field_validator("shots")
    @classmethod
    def _ascending(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(value, tuple) and (not value or list(value) != sorted(set(value))):
            raise ValueError(f"shots {list(value)} must name at least one number, ascending, each once")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> EvaluationSettings:
        if self.rank_by != "mean" and self.rank_by not in self.shot_numbers:
            raise ValueError(f"rank_by {self.rank_by} is none of the shots {list(self.shot_numbers)}")
        if self.baseline is Reference.NO_DEMONSTRATIONS and not self.no_demonstrations:
            raise ValueError("baseline is the row without demonstrations, but no_demonstrations is false")
        names = [row.name for row in self.rows]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two rows have the name {twice!r}: give each its own")
        if self.train_rows and self.split is SplitName.TRAIN:
            raise ValueError("train_rows adds the train split beside another one, but split is train itself")
        return self

    @property
    def shot_numbers(self) -> tuple[int, ...]:
        """All numbers of demonstrations, ascending."""
        return self.shots if isinstance(self.shots, tuple) else tuple(range(1, self.shots + 1))

    @property
    def measure(self) -> str:
        """What `rank_by` is, in words."""
        shots = self.shot_numbers
        if self.rank_by != "mean" or len(shots) == 1:
            return f"{shots[0] if self.rank_by == 'mean' else self.rank_by}-shot accuracy"
        consecutive = shots == tuple(range(shots[0], shots[-1] + 1))
        listed = f"{shots[0]} to {shots[-1]}" if consecutive else ", ".join(map(str, shots))
        return f"mean accuracy over {listed} shots"

    @property
    def rank_column(self) -> int:
        """Where `rank_by` stands among the measures: one per number of shots, then their mean."""
        return len(self.shot_numbers) if self.rank_by == "mean" else self.shot_numbers.index(self.rank_by)


def evaluation_splits(settings: EvaluationSettings) -> list[SplitName]:
    """The splits whose questions an evaluation asks."""
    return [settings.split, *([SplitName.TRAIN] if settings.train_rows else [])]

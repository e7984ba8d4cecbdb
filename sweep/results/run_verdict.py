"""The verdict as it is stored in `ranking.json`. Reading it loads neither torch nor scipy; `verdict.py` makes it."""

from __future__ import annotations

import json
from enum import StrEnum

from selector.settings import FrozenModel
from sweep.errors import RunError
from sweep.evaluation.records import Difference, ExampleRecord
from sweep.runs.paths import RunPaths


class VerdictKind(StrEnum):
    """What a run has shown."""

    BEATS_BASELINE = "beats_baseline"
    NOT_DISTINGUISHED = "not_distinguished"
    WORSE_THAN_BASELINE = "worse_than_baseline"
    EQUAL_TO_BASELINE = "equal_to_baseline"  # on every single question
    NOTHING_CORRECT = "nothing_correct"
    NOT_COMPARED = "not_compared"  # with anything that needs no training
    NO_TRIAL_COMPARED = "no_trial_compared"  # the tables have references only
    NO_COMPLETE_TRIAL = "no_complete_trial"


class RunVerdict(FrozenModel):
    """What can be said of a run's best trial. (`selector.health.Verdict` is about the health of one trial.)

    Attributes:
        sentence: the verdict, for people.
        details: what else there is to know about it.
        next_steps: what to do now.
        best: the best row that was compared. None without one.
        trial: its number in the study.
        others: other trials that beat the baseline while the best one does not.
        baseline: what it was compared with.
        measure: by which it was, in words.
        difference: best minus baseline: a share of correct answers, or reward. Its corrected p and its joint interval
            count that the best row was picked among many.
        questions_to_tell: all questions that it takes to tell a difference of 0.01 with probability 80 %. None where
            that cannot be said.
        more_questions: those beyond the ones that were asked.
        informative_groups: groups of the validation split whose beams differ in reward. They alone decide val_loss.
        validation_groups: all groups of that split. Both are None where they were not counted, or the metric is rce.
        example: a prompt and its answer, where nothing was answered correctly.
    """

    kind: VerdictKind
    sentence: str
    details: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    best: str | None = None
    trial: int | None = None
    others: tuple[int, ...] = ()
    baseline: str | None = None
    measure: str | None = None
    difference: Difference | None = None
    questions_to_tell: int | None = None
    more_questions: int | None = None
    informative_groups: int | None = None
    validation_groups: int | None = None
    example: ExampleRecord | None = None

    @property
    def is_worth_taking(self) -> bool:
        """Whether the run supports using its best trial instead of the baseline."""
        return self.kind is VerdictKind.BEATS_BASELINE


def verdict_of_run(paths: RunPaths) -> RunVerdict | None:
    """The verdict that a run has ended with. None while it has not, or if a version without verdicts ended it.

    Raises:
        RunError: `ranking.json` is damaged.
    """
    if not paths.ranking_file.exists():
        return None
    try:
        stored = dict(json.loads(paths.ranking_file.read_bytes()))
        return RunVerdict.model_validate_json(json.dumps(stored["verdict"])) if "verdict" in stored else None
    except (ValueError, TypeError, RecursionError):
        raise RunError(f"{paths.ranking_file}: damaged, or of another version: its verdict cannot be read") from None

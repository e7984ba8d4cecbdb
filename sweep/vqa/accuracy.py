"""VQA accuracy: how well an answer agrees with the annotators, as the official evaluation counts it.

Leave one out: for each annotator, min(1, matches among the others / 3); the accuracy is the mean over annotators. With
ten annotators of whom m gave the prediction it is 0, 0.3, 0.6, 0.9 and from m = 4 on 1. Annotators are left out by
index, so equal answers of two annotators are two answers.

Deviation: with fewer than four annotators the official formula cannot reach 1 even if all of them agree with the
prediction. Here the number of matches that makes a full score is at most the number of others, and a lone annotator's
answer is simply right or wrong. From four annotators on both are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sweep.vqa.cleanup import normalise, strip

FULL_SCORE_MATCHES = 3


class Mode(StrEnum):
    """When prediction and answers are cleaned (`sweep.vqa.cleanup`) before they are compared.

    `official`: only if the annotators' answers, stripped, are not all equal; else they are compared as they are, so a
    prediction `yes` scores 0 against ten times `Yes`. `always`: in every case, as most few-shot papers do.
    """

    OFFICIAL = "official"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class TypeScore:
    """The mean accuracy, in [0, 1], of the questions of one type."""

    questions: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracies in [0, 1]; `overall` is the mean of `per_question`. Types are sorted; without types they are empty."""

    mode: Mode
    per_question: tuple[float, ...]
    overall: float
    by_question_type: Mapping[str, TypeScore]
    by_answer_type: Mapping[str, TypeScore]


def accuracy(prediction: str, answers: Sequence[str], mode: Mode) -> float:
    """VQA accuracy of one prediction, in [0, 1].

    Args:
        prediction: any text; an empty one matches an answer only if that is empty too once compared (`always` and
            unequal answers: `the` is empty as well).
        answers: the annotators' answers, one each; usually ten, at least one.
        mode: when to clean.

    Raises:
        ValueError: no answers.
    """
    if isinstance(answers, str) or not answers:
        raise ValueError(f"expected the list of the annotators' answers, found {answers!r:.60}")
    compared = [strip(answer) for answer in answers]
    given = strip(prediction)
    if mode is Mode.ALWAYS or len(set(compared)) > 1:
        cleaned = {answer: normalise(answer) for answer in set(compared)}  # most of the ten are equal
        compared = [cleaned[answer] for answer in compared]
        given = normalise(given)
    return _leave_one_out(compared.count(given), len(compared))


def score_all(
    predictions: Sequence[str],
    answers: Sequence[Sequence[str]],
    mode: Mode,
    *,
    question_types: Sequence[str | None] | None = None,
    answer_types: Sequence[str | None] | None = None,
) -> Scores:
    """Score many predictions.

    Args:
        predictions: one per question, at least one.
        answers: the annotators' answers per question.
        mode: when to clean.
        question_types: per question, as annotation files name them (`what color`); None where there is none.
        answer_types: likewise (`yes/no`, `number`, `other`).

    Raises:
        ValueError: no predictions, lengths that differ, or a question without answers.
    """
    lengths = {len(column) for column in (predictions, answers, question_types, answer_types) if column is not None}
    if len(lengths) != 1 or not predictions:
        raise ValueError(f"expected at least one prediction and columns of one length, found lengths {sorted(lengths)}")
    per_question = tuple(accuracy(given, found, mode) for given, found in zip(predictions, answers, strict=True))
    return Scores(
        mode=mode,
        per_question=per_question,
        overall=_mean(per_question),
        by_question_type=_by_type(per_question, question_types),
        by_answer_type=_by_type(per_question, answer_types),
    )


def _leave_one_out(matches: int, annotators: int) -> float:
    if annotators == 1:
        return float(matches)
    full = min(FULL_SCORE_MATCHES, annotators - 1)
    # A matching annotator sees one match less among the others; whole numbers keep 0.3, 0.6 and 0.9 exact.
    points = matches * min(full, matches - 1) + (annotators - matches) * min(full, matches)
    return points / (full * annotators)


def _by_type(per_question: Sequence[float], types: Sequence[str | None] | None) -> Mapping[str, TypeScore]:
    groups: dict[str, list[float]] = {}
    for value, kind in zip(per_question, types or (), strict=False):
        if kind is not None:
            groups.setdefault(kind, []).append(value)
    return {kind: TypeScore(len(values), _mean(values)) for kind, values in sorted(groups.items())}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

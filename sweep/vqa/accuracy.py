"""VQA accuracy: how well an answer agrees with the annotators, as the official evaluation counts it.

Leave one out: for each annotator, min(1, matches among the others / 3). The accuracy is the mean over annotators. With
ten annotators of whom m gave the prediction it is 0, 0.3, 0.6, 0.9 and from m = 4 on 1. Annotators are left out by
index, so equal answers of two annotators are two answers.

Deviation: with fewer than four annotators the official formula cannot reach 1 even if all of them agree with the
prediction. Here the number of matches that makes a full score is at most the number of others, and a lone annotator's
answer is simply right or wrong. From four annotators on both are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from sweep.vqa.cleanup import normalise, strip

FULL_SCORE_MATCHES = 3


class AnswerNormalisation(StrEnum):
    """When prediction and answers are cleaned (`sweep.vqa.cleanup`) before they are compared.

    `official`: only if the annotators' answers, stripped, are not all equal. Else they are compared as they are. So a
    prediction `yes` scores 0 against ten times `Yes`. `always`: in every case, as most few-shot papers do.
    """

    OFFICIAL = "official"
    ALWAYS = "always"


def accuracy(prediction: str, answers: Sequence[str], normalisation: AnswerNormalisation) -> float:
    """VQA accuracy of one prediction, in [0, 1].

    Args:
        prediction: any text. An empty one matches only an answer that is empty when it is compared. With `always`, or
            unequal answers, `the` is empty as well.
        answers: the annotators' answers, one each. Usually ten, at least one.
        normalisation: when to clean.

    Raises:
        ValueError: no answers.
    """
    if isinstance(answers, str) or not answers:
        raise ValueError(f"expected the list of the annotators' answers, found {answers!r:.60}")
    compared = [strip(answer) for answer in answers]
    given = strip(prediction)
    if normalisation is AnswerNormalisation.ALWAYS or len(set(compared)) > 1:
        cleaned = {answer: normalise(answer) for answer in set(compared)}  # most of the ten are equal
        compared = [cleaned[answer] for answer in compared]
        given = normalise(given)
    return _leave_one_out(compared.count(given), len(compared))


def _leave_one_out(matches: int, annotators: int) -> float:
    if annotators == 1:
        return float(matches)
    full = min(FULL_SCORE_MATCHES, annotators - 1)
    # A matching annotator sees one match less among the others; whole numbers keep 0.3, 0.6 and 0.9 exact.
    points = matches * min(full, matches - 1) + (annotators - matches) * min(full, matches)
    return points / (full * annotators)

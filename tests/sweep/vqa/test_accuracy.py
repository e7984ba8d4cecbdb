from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.vqa import AnswerNormalisation, accuracy, normalise

WORDS = st.sampled_from(["yes", "Yes", "no", "the yes", "2", "two", "", "a", "red-hot", "red hot", " red hot\n"])
ANSWERS = st.lists(WORDS, min_size=1, max_size=12)
NORMALISATIONS = st.sampled_from(AnswerNormalisation)
RUNS = settings(max_examples=300, deadline=None)


@pytest.mark.parametrize("normalisation", AnswerNormalisation)
@pytest.mark.parametrize(
    ("matches", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), *((matches, 1) for matches in range(4, 11))]
)
def test_matches_of_ten(normalisation, matches, expected):
    assert accuracy("cat", ["cat"] * matches + ["dog"] * (10 - matches), normalisation) == expected


def literal(prediction: str, answers: list[str], normalisation: AnswerNormalisation) -> float:
    """The rules read out word by word: leave each annotator out in turn."""
    answers, prediction = [one.strip() for one in answers], prediction.strip()
    if normalisation is AnswerNormalisation.ALWAYS or any(one != answers[0] for one in answers):
        answers, prediction = [normalise(one) for one in answers], normalise(prediction)
    scores = []
    for left_out in range(len(answers)):
        others = answers[:left_out] + answers[left_out + 1 :]
        scores.append(min(1.0, sum(one == prediction for one in others) / 3))
    return sum(scores) / len(scores)


@RUNS
@given(prediction=WORDS, answers=st.lists(WORDS, min_size=4, max_size=12), normalisation=NORMALISATIONS)
def test_equals_the_rules_read_out(prediction, answers, normalisation):
    assert accuracy(prediction, answers, normalisation) == pytest.approx(
        literal(prediction, answers, normalisation), abs=1e-12
    )


@RUNS
@given(prediction=WORDS | st.text(), answers=ANSWERS | st.lists(st.text(), min_size=1), normalisation=NORMALISATIONS)
def test_range(prediction, answers, normalisation):
    assert 0 <= accuracy(prediction, answers, normalisation) <= 1


@RUNS
@given(data=st.data(), prediction=WORDS, answers=ANSWERS, normalisation=NORMALISATIONS)
def test_order_of_annotators_does_not_matter(data, prediction, answers, normalisation):
    assert accuracy(prediction, data.draw(st.permutations(answers)), normalisation) == accuracy(
        prediction, answers, normalisation
    )


@RUNS
@given(data=st.data(), prediction=WORDS, answers=ANSWERS)
def test_one_more_match_never_lowers_it(data, prediction, answers):
    place = data.draw(st.integers(0, len(answers) - 1))
    more = [*answers[:place], prediction, *answers[place + 1 :]]
    assert accuracy(prediction, more, AnswerNormalisation.ALWAYS) >= accuracy(
        prediction, answers, AnswerNormalisation.ALWAYS
    )


@RUNS
@given(prediction=st.text(), answers=ANSWERS)
def test_always_is_official_on_cleaned_texts(prediction, answers):
    cleaned = [normalise(one) for one in answers]
    expected = accuracy(normalise(prediction), cleaned, AnswerNormalisation.OFFICIAL)
    assert accuracy(prediction, answers, AnswerNormalisation.ALWAYS) == expected


def test_unanimous_answers_are_compared_as_they_are_in_official_mode():
    assert accuracy("yes", ["Yes"] * 10, AnswerNormalisation.OFFICIAL) == 0
    assert accuracy("yes", ["Yes"] * 10, AnswerNormalisation.ALWAYS) == 1
    assert accuracy("Yes", ["Yes"] * 10, AnswerNormalisation.OFFICIAL) == 1
    assert accuracy("two.", ["2"] * 10, AnswerNormalisation.OFFICIAL) == 0
    assert accuracy("yes", ["Yes"] * 9 + ["yes"], AnswerNormalisation.OFFICIAL) == 1


def test_white_space_is_stripped_in_every_case():
    for normalisation in AnswerNormalisation:
        assert accuracy("\tYes \n", ["Yes"] * 10, normalisation) == 1
        assert accuracy("Yes", [" Yes", "Yes\n"] * 5, normalisation) == 1
        assert accuracy("hot\ndog", ["hot dog"] * 10, normalisation) == 1
    # stripped answers are equal, so the official one does not clean them
    assert accuracy("yes", [" Yes", "Yes\n"] * 5, AnswerNormalisation.OFFICIAL) == 0


def test_annotators_are_left_out_by_index():
    assert accuracy("cat", ["cat", "cat", *["dog"] * 8], AnswerNormalisation.OFFICIAL) == 0.6


@pytest.mark.parametrize("normalisation", AnswerNormalisation)
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["cat"], 1),
        (["dog"], 0),
        (["cat", "dog"], 0.5),
        (["cat", "cat"], 1),
        (["cat", "dog", "cow"], 1 / 3),
        (["cat", "cat", "dog"], 2 / 3),
        (["cat", "cat", "cat"], 1),
        (["cat", "cat", "cat", "dog"], (3 * 2 / 3 + 1) / 4),
        (["cat"] * 4, 1),
        (["cat"] * 5 + ["dog"] * 95, 1),
    ],
)
def test_other_numbers_of_annotators(normalisation, answers, expected):
    assert accuracy("cat", answers, normalisation) == pytest.approx(expected, abs=1e-12)


def test_empty_prediction():
    answers = ["cat"] * 9 + ["dog"]
    assert accuracy("", answers, AnswerNormalisation.OFFICIAL) == 0
    assert accuracy("", ["cat"] * 10, AnswerNormalisation.ALWAYS) == 0
    # an article alone is cleaned to nothing, which is what the official rules compare
    assert accuracy("", [*answers[:9], "the"], AnswerNormalisation.OFFICIAL) == pytest.approx(0.3)
    assert accuracy("a", [*answers[:9], "the"], AnswerNormalisation.OFFICIAL) == pytest.approx(0.3)


def test_unicode_and_long_predictions():
    assert accuracy("Café", ["café"] * 9 + ["tea"], AnswerNormalisation.OFFICIAL) == 1
    assert accuracy("cafe", ["café"] * 9 + ["tea"], AnswerNormalisation.OFFICIAL) == 0
    assert accuracy("word " * 100_000, ["cat"] * 9 + ["dog"], AnswerNormalisation.OFFICIAL) == 0


@pytest.mark.parametrize("answers", [[], "yes"])
def test_no_list_of_answers(answers):
    with pytest.raises(ValueError, match="annotators' answers"):
        accuracy("yes", answers, AnswerNormalisation.OFFICIAL)

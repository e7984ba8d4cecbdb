from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.vqa import Mode, TypeScore, accuracy, normalise, score_all

WORDS = st.sampled_from(["yes", "Yes", "no", "the yes", "2", "two", "", "a", "red-hot", "red hot", " red hot\n"])
ANSWERS = st.lists(WORDS, min_size=1, max_size=12)
MODES = st.sampled_from(Mode)
RUNS = settings(max_examples=300, deadline=None)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("matches", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), *((matches, 1) for matches in range(4, 11))]
)
def test_matches_of_ten(mode, matches, expected):
    assert accuracy("cat", ["cat"] * matches + ["dog"] * (10 - matches), mode) == expected


def literal(prediction: str, answers: list[str], mode: Mode) -> float:
    """The rules read out word by word: leave each annotator out in turn."""
    answers, prediction = [one.strip() for one in answers], prediction.strip()
    if mode is Mode.ALWAYS or any(one != answers[0] for one in answers):
        answers, prediction = [normalise(one) for one in answers], normalise(prediction)
    scores = []
    for left_out in range(len(answers)):
        others = answers[:left_out] + answers[left_out + 1 :]
        scores.append(min(1.0, sum(one == prediction for one in others) / 3))
    return sum(scores) / len(scores)


@RUNS
@given(prediction=WORDS, answers=st.lists(WORDS, min_size=4, max_size=12), mode=MODES)
def test_equals_the_rules_read_out(prediction, answers, mode):
    assert accuracy(prediction, answers, mode) == pytest.approx(literal(prediction, answers, mode), abs=1e-12)


@RUNS
@given(prediction=WORDS | st.text(), answers=ANSWERS | st.lists(st.text(), min_size=1), mode=MODES)
def test_range(prediction, answers, mode):
    assert 0 <= accuracy(prediction, answers, mode) <= 1


@RUNS
@given(data=st.data(), prediction=WORDS, answers=ANSWERS, mode=MODES)
def test_order_of_annotators_does_not_matter(data, prediction, answers, mode):
    assert accuracy(prediction, data.draw(st.permutations(answers)), mode) == accuracy(prediction, answers, mode)


@RUNS
@given(data=st.data(), prediction=WORDS, answers=ANSWERS)
def test_one_more_match_never_lowers_it(data, prediction, answers):
    place = data.draw(st.integers(0, len(answers) - 1))
    more = [*answers[:place], prediction, *answers[place + 1 :]]
    assert accuracy(prediction, more, Mode.ALWAYS) >= accuracy(prediction, answers, Mode.ALWAYS)


@RUNS
@given(prediction=st.text(), answers=ANSWERS)
def test_always_is_official_on_cleaned_texts(prediction, answers):
    cleaned = [normalise(one) for one in answers]
    expected = accuracy(normalise(prediction), cleaned, Mode.OFFICIAL)
    assert accuracy(prediction, answers, Mode.ALWAYS) == expected


def test_unanimous_answers_are_compared_as_they_are_in_official_mode():
    assert accuracy("yes", ["Yes"] * 10, Mode.OFFICIAL) == 0
    assert accuracy("yes", ["Yes"] * 10, Mode.ALWAYS) == 1
    assert accuracy("Yes", ["Yes"] * 10, Mode.OFFICIAL) == 1
    assert accuracy("two.", ["2"] * 10, Mode.OFFICIAL) == 0
    assert accuracy("yes", ["Yes"] * 9 + ["yes"], Mode.OFFICIAL) == 1


def test_white_space_is_stripped_in_every_case():
    for mode in Mode:
        assert accuracy("\tYes \n", ["Yes"] * 10, mode) == 1
        assert accuracy("Yes", [" Yes", "Yes\n"] * 5, mode) == 1
        assert accuracy("hot\ndog", ["hot dog"] * 10, mode) == 1
    # stripped answers are equal, so the official mode does not clean them
    assert accuracy("yes", [" Yes", "Yes\n"] * 5, Mode.OFFICIAL) == 0


def test_annotators_are_left_out_by_index():
    assert accuracy("cat", ["cat", "cat", *["dog"] * 8], Mode.OFFICIAL) == 0.6


@pytest.mark.parametrize("mode", Mode)
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
def test_other_numbers_of_annotators(mode, answers, expected):
    assert accuracy("cat", answers, mode) == pytest.approx(expected, abs=1e-12)


def test_empty_prediction():
    answers = ["cat"] * 9 + ["dog"]
    assert accuracy("", answers, Mode.OFFICIAL) == 0
    assert accuracy("", ["cat"] * 10, Mode.ALWAYS) == 0
    # an article alone is cleaned to nothing, which is what the official rules compare
    assert accuracy("", [*answers[:9], "the"], Mode.OFFICIAL) == pytest.approx(0.3)
    assert accuracy("a", [*answers[:9], "the"], Mode.OFFICIAL) == pytest.approx(0.3)


def test_unicode_and_long_predictions():
    assert accuracy("Café", ["café"] * 9 + ["tea"], Mode.OFFICIAL) == 1
    assert accuracy("cafe", ["café"] * 9 + ["tea"], Mode.OFFICIAL) == 0
    assert accuracy("word " * 100_000, ["cat"] * 9 + ["dog"], Mode.OFFICIAL) == 0


@pytest.mark.parametrize("answers", [[], "yes"])
def test_no_list_of_answers(answers):
    with pytest.raises(ValueError, match="annotators' answers"):
        accuracy("yes", answers, Mode.OFFICIAL)


def test_score_all():
    answers = [["cat"] * 10, ["2"] * 2 + ["3"] * 8, ["Yes"] * 10]
    scores = score_all(
        ["cat", "two", "yes"],
        answers,
        Mode.OFFICIAL,
        question_types=["what is", "how many", "what is"],
        answer_types=["other", "number", None],
    )
    assert scores.mode is Mode.OFFICIAL
    assert scores.per_question == (1, 0.6, 0)
    assert scores.overall == pytest.approx(1.6 / 3)
    assert scores.by_question_type == {"how many": TypeScore(1, 0.6), "what is": TypeScore(2, 0.5)}
    assert scores.by_answer_type == {"number": TypeScore(1, 0.6), "other": TypeScore(1, 1.0)}
    assert score_all(["cat", "two", "yes"], answers, Mode.ALWAYS).per_question == (1, 0.6, 1)
    assert score_all(["cat"], [["cat"]], Mode.ALWAYS).by_question_type == {}


@pytest.mark.parametrize(
    ("predictions", "answers", "types"),
    [([], [], None), (["a"], [["a"], ["b"]], None), (["a"], [["a"]], ["x", "y"]), (["a"], [[]], None)],
)
def test_score_all_refuses(predictions, answers, types):
    with pytest.raises(ValueError, match="expected"):
        score_all(predictions, answers, Mode.ALWAYS, question_types=types)

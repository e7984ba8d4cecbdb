from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from selector.errors import DataError
from sweep.items import ImageError, ItemsSettings, open_items
from tests.sweep.items.builders import ANSWERS, QUESTIONS, annotations, images, official, questions, store, with_answers


def test_reads_all_columns(tmp_path):
    table = official(tmp_path)
    assert len(table) == 3
    for item, ((question, image, text), answers) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
        assert (table.question_id(item), table.image_id(item), table.question(item)) == (question, image, text)
        assert table.answers(item) == tuple(answers)
        assert (table.question_type(item), table.answer_type(item)) == ("what", "other")
    assert [table.shown_answer(item) for item in range(3)] == ["red", "x", "2"]
    assert table.image_bytes(0) == table.image_bytes(1) == b"bytes of COCO_train2014_000000000049.jpg"
    assert table.image_label(2) == str(tmp_path / "images" / "12.PNG")
    assert (len(table), with_answers(table), table.images_missing()) == (3, 3, 0)


def test_raw_answers(tmp_path):
    assert official(tmp_path, answers="raw").answers(2) == ("2s",) * 10


def test_raw_answers_that_are_not_there(tmp_path):
    answered = annotations()
    for answer in answered["annotations"][0]["answers"]:
        del answer["raw_answer"]
    assert official(tmp_path, answered=answered).answers(2) == ("2",) * 10
    with pytest.raises(DataError, match=r"annotations\[0\].answers\[0\]: has no raw_answer.*set answers: stemmed"):
        official(tmp_path, answered=answered, answers="raw")


def test_several_files_keep_their_order(tmp_path):
    second = questions(((90, 3, "second file?"),), subtype="val2014")
    paths = [store(tmp_path, "b.json", second), store(tmp_path, "q.json", questions())]
    images(tmp_path / "val2014", ("000000000003.jpg",))
    table = open_items(
        ItemsSettings.model_validate(
            {
                "questions": paths,
                "annotations": store(tmp_path, "a.json", annotations()),
                "images": [images(tmp_path / "images"), tmp_path / "val2014"],
            }
        )
    )
    assert [table.question_id(item) for item in range(4)] == [90, 495, 7, 123]
    assert table.answers(0) == ()  # a questions file without annotations beside one with them
    assert table.answers(1) == tuple(ANSWERS[0])
    assert with_answers(table) == 3
    assert table.image_label(0).endswith("000000000003.jpg")
    with pytest.raises(DataError, match=r"item 0 \(question 90\) has no answers, so it cannot be a demonstration"):
        table.shown_answer(0)


def test_test_sets_have_no_annotations(tmp_path):
    path = store(tmp_path, "q.json", questions())
    table = open_items(ItemsSettings(questions=(path,), images=(images(tmp_path / "images"),)))
    assert [table.answers(item) for item in range(3)] == [(), (), ()]
    assert with_answers(table) == 0
    assert len(table.fingerprint()) == 64


# --- Images ----------------------------------------------------------------------------------------------------------


def test_missing_image_is_counted_and_fails_when_asked_for(tmp_path):
    table = official(tmp_path, images=images(tmp_path / "few", ("49.jpg", "49.txt", "x12y.jpg", "012", "112.jpg")))
    assert table.images_missing() == 1
    with pytest.raises(ImageError, match=r"image 12 in .*few: no image file whose name ends in this id") as caught:
        table.image_bytes(2)
    assert caught.value.label == table.image_label(2) == f"image 12 in {tmp_path / 'few'}"
    with pytest.raises(ImageError):
        table.image_hash(2)


@pytest.mark.parametrize(
    "name", ["COCO_train2014_000000000012.jpg", "12.jpeg", "a/b/c/0012.WEBP", "x-12.tiff", "12.bmp"]
)
def test_names_of_images(tmp_path, name):
    table = official(tmp_path, images=images(tmp_path / "images", ("49.jpg", name)))
    assert table.image_label(2) == str(tmp_path / "images" / name)


def test_links_are_followed_and_loops_end(tmp_path):
    images(tmp_path / "elsewhere" / "deep")
    pictures = images(tmp_path / "images", ())
    (pictures / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(pictures)
    assert official(tmp_path, images=pictures).images_missing() == 0


def test_a_folder_given_twice_is_searched_once(tmp_path):
    pictures = images(tmp_path / "images", ("train2014/49.jpg", "12.jpg"))
    table = official(tmp_path, images=[pictures, pictures / "train2014"])
    assert table.images_missing() == 0


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("COCO_val2014_000000000012.jpg", "COCO_train2014_000000000012.jpg"), "COCO_train2014_000000000012.jpg"),
        (("val2014/12.jpg", "train2014/12.jpg"), "train2014/12.jpg"),
        (("train2014/thumb/12.jpg", "train2014/COCO_train2014_012.jpg"), "train2014/COCO_train2014_012.jpg"),
        (("12.jpg", "12.png"), None),
        (("train2014/12.jpg", "train2014/12.png"), None),
        (("val2014/12.jpg", "test2015/12.jpg"), None),
    ],
)
def test_several_files_of_one_image(tmp_path, names, chosen):
    pictures = images(tmp_path / "images", ("49.jpg", *names))
    if chosen is None:
        with pytest.raises(DataError, match=r"12\.\w+ and that of .*12\.\w+ both end in image id 12"):
            official(tmp_path, images=pictures)
    else:
        assert official(tmp_path, images=pictures).image_label(2) == str(pictures / chosen)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.write_text(""), "is no folder"),
    ],
)
def test_image_folder_that_is_none(tmp_path, prepare, message):
    prepare(tmp_path / "none")
    with pytest.raises(DataError, match=f"none: images: {message}"):
        official(tmp_path, images=tmp_path / "none")


# --- Broken files ----------------------------------------------------------------------------------------------------


def without(content, *way):
    content = copy.deepcopy(content)
    target = content
    for step in way[:-1]:
        target = target[step]
    del target[way[-1]]
    return content


def changed(content, value, *way):
    content = copy.deepcopy(content)
    target = content
    for step in way[:-1]:
        target = target[step]
    target[way[-1]] = value
    return content


Q, A = questions(), annotations()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (b"", "the file is empty"),
        (b"{", "truncated"),
        (b"\xff", "not UTF-8"),
        ([], "expected an object with a list questions"),
        ({}, "has no list questions$"),
        (A, "has no list questions; it has annotations: give it under annotations"),
        ({"questions": {}}, "questions: expected a list"),
        ({"questions": []}, "holds no questions"),
        ({"questions": [3]}, r"questions\[0\]: expected an object, found 3"),
        (changed(Q, 2014, "data_subtype"), "data_subtype: expected a text, found 2014"),
        (without(Q, "questions", 1, "image_id"), r"questions\[1\].image_id: expected an integer, it is missing"),
        (changed(Q, "49", "questions", 1, "image_id"), r"questions\[1\].image_id: expected an integer, found '49'"),
        (changed(Q, True, "questions", 1, "image_id"), "expected an integer, found True"),
        (changed(Q, 10**20, "questions", 0, "question_id"), "found an integer of 21 digits"),
        (changed(Q, 1.0, "questions", 0, "question_id"), "found 1.0"),
        (
            changed(Q, 495, "questions", 1, "question_id"),
            r"questions\[1\]: question_id 495 is in questions\[0\] already",
        ),
        (changed(Q, None, "questions", 2, "question"), r"questions\[2\].question: expected a text, found None"),
        (changed(Q, " ", "questions", 2, "question"), r"questions\[2\].question: is empty"),
        (changed(Q, "a \ud800", "questions", 2, "question"), "half of a surrogate pair"),
        (b'{"questions": [{"question_id": 1, "question_id": 2}]}', "the key 'question_id' appears twice"),
        (without(Q, "questions", 0), r"question_id 495 is not in .*questions.json; do the files belong together"),
    ],
)
def test_broken_questions(tmp_path, asked, message):
    with pytest.raises(DataError, match=message) as caught:
        official(tmp_path, asked)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


LAST = ("annotations", 2, "answers")


@pytest.mark.parametrize(
    ("answered", "message"),
    [
        (b"nonsense", "not JSON"),
        (Q, "has no list annotations; it has questions: give it under questions"),
        ({"annotations": 1}, "annotations: expected a list, found 1"),
        (changed(A, [], "annotations", 1), r"annotations\[1\]: expected an object"),
        (without(A, "annotations", 1, "question_id"), r"annotations\[1\].question_id: expected an integer"),
        (changed(A, 5, "annotations", 1, "question_id"), "question_id 5 is not in"),
        (
            changed(A, 123, "annotations", 1, "question_id"),
            r"annotations\[1\]: question_id 123 has an annotation already",
        ),
        (changed(A, 50, "annotations", 2, "image_id"), "says image_id 50, but question 495 of .* has 49"),
        (without(A, "annotations", 1), "1 of its 3 questions have no annotation, the first of them is question 7"),
        (without(A, *LAST), r"annotations\[2\].answers: expected the list of the annotators' answers, found nothing"),
        (changed(A, [], *LAST), r"answers, found \[\]"),
        (changed(A, "red", *LAST), "answers, found 'red'"),
        (changed(A, "red", *LAST, 4), r"annotations\[2\].answers\[4\]: expected an object, found 'red'"),
        (changed(A, 2, *LAST, 4, "answer"), r"answers\[4\].answer: expected a text, found 2"),
        (changed(A, "\udfff", *LAST, 4, "answer"), "half of a surrogate pair"),
        (changed(A, {"raw_answer": "x"}, *LAST, 4), "has no answer; the file has raw_answer: set answers: raw"),
        (changed(A, {}, *LAST, 4), r"answers\[4\]: has no answer$"),
        (changed(A, 3, "annotations", 2, "answer_type"), "answer_type: expected a text"),
    ],
)
def test_broken_annotations(tmp_path, answered, message):
    with pytest.raises(DataError, match=message) as caught:
        official(tmp_path, answered=answered)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_repeated_key_in_an_answer(tmp_path):
    text = json.dumps(annotations()).replace('"answer": "red"', '"answer": "red", "answer": "blue"')
    with pytest.raises(DataError, match=r"answers\[0\]: the key 'answer' appears twice"):
        official(tmp_path, answered=text.encode())


def test_the_same_question_in_two_files(tmp_path):
    path = store(tmp_path, "first.json", questions())
    with pytest.raises(DataError, match=r"again.json: questions\[0\]: question_id 495 is in .*first.json already"):
        open_items(
            ItemsSettings(
                questions=(path, store(tmp_path, "again.json", questions())), images=(images(tmp_path / "i"),)
            )
        )


@pytest.mark.parametrize("name", ["questions", "annotations"])
def test_missing_file(tmp_path, name):
    with pytest.raises(DataError, match=r"nowhere\.json: no such file"):
        official(tmp_path, **{name: Path(tmp_path / "nowhere.json")})


def test_types_may_be_missing(tmp_path):
    answered = without(A, "annotations", 0, "question_type")
    answered["annotations"][1]["question_type"] = None
    table = official(tmp_path, answered=answered)
    assert [table.question_type(item) for item in range(3)] == ["what", None, None]

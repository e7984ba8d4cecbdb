import pytest

from sweep.errors import SpaceError
from sweep.space.document import MAX_CHARACTERS, Document, Problem, dotted, read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-6", 5e-6),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-1.", -1.0),
        ("+3", 3),
        ("0x10", 16),
        ("0o17", 15),
        ("010", 10),
        ("1_000", "1_000"),
        ("on", "on"),
        ("no", "no"),
        ("True", True),
        ("~", None),
        ("", None),
        ("2020-01-01", "2020-01-01"),
        ("12:30:00", "12:30:00"),
        ("'5e-6'", "5e-6"),
        ("!!str 5", "5"),
        ("-.inf", float("-inf")),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    read = read_document(f"key: {text}\n", "f.yaml").value["key"]
    assert read == value and type(read) is type(value)


def test_lines_of_keys_and_items():
    document = read_document("a:\n  b.c: 1\n  d:\n    - 2\n    - x: 3\n", "f.yaml")
    assert document.value == {"a": {"b.c": 1, "d": [2, {"x": 3}]}}
    assert document.lines[("a", "b.c")] == 2
    assert document.lines[("a", "d", 1, "x")] == 5
    assert document.line(("a", "d", 1, "missing", "deeper")) == 5
    assert document.line(("nowhere",)) == 1


def test_aliases_are_expanded():
    assert read_document("a: &x {k: 1}\nb: *x\n", "f.yaml").value == {"a": {"k": 1}, "b": {"k": 1}}


def test_dotted():
    assert dotted(("enqueue", 0, "grpo.lr")) == "enqueue[0].grpo.lr"


def test_equal_problems_are_told_once():
    document = Document("f.yaml", {}, {})
    assert str(document.error([Problem((), "bad"), Problem((), "bad")])) == "f.yaml:1: bad"


def test_too_long():
    with pytest.raises(SpaceError, match="longer than"):
        read_document("#" * (MAX_CHARACTERS + 1), "f.yaml")

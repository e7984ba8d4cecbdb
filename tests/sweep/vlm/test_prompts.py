from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sweep.errors import SpaceError
from sweep.settings.texts import IMAGE_MARK
from sweep.settings.vlm import PromptSettings
from sweep.space import parse_space
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import WorkItem
from tests.sweep.vlm.models import SPECIALS, MemoryTable, build_tokenizer

TOKENIZER = build_tokenizer()
TABLE = MemoryTable(
    questions=["What is it?", "Who made it?", "Where?"],
    all_answers=[("fox", "dog"), ("Ann",), ("here",)],
    images=[b"", b"", b""],
)
TEMPLATE = (
    "{{ count }}:{% for d in demonstrations %}{{ d.image }}{{ d.question }}>{{ d.answer }};{% endfor %}"
    "{{ query.image }}{{ query.question }}"
)
SYSTEM = "Answer the question about the last image with a short answer."


def rendered(settings: PromptSettings, *demonstrations: int, table: MemoryTable = TABLE) -> str:
    return PromptRenderer(settings, TOKENIZER).render(WorkItem(0, demonstrations), table).text


def test_turns_with_the_count_last() -> None:
    assert rendered(PromptSettings(), 1) == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
        f"<|im_start|>user\n{IMAGE_MARK}Who made it?<|im_end|>\n<|im_start|>assistant\nAnn<|im_end|>\n"
        "<|im_start|>system\nYou have seen 1 demonstration.<|im_end|>\n"
        f"<|im_start|>user\n{IMAGE_MARK}What is it?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_turns_with_the_count_first() -> None:
    assert rendered(PromptSettings(count="first"), 1, 2) == (
        f"<|im_start|>system\n{SYSTEM} You are shown 2 demonstrations first.<|im_end|>\n"
        f"<|im_start|>user\n{IMAGE_MARK}Who made it?<|im_end|>\n<|im_start|>assistant\nAnn<|im_end|>\n"
        f"<|im_start|>user\n{IMAGE_MARK}Where?<|im_end|>\n<|im_start|>assistant\nhere<|im_end|>\n"
        f"<|im_start|>user\n{IMAGE_MARK}What is it?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_one_turn() -> None:
    assert rendered(PromptSettings(layout="one_turn", count="first"), 2, 1) == (
        f"<|im_start|>system\n{SYSTEM} You are shown 2 demonstrations first.<|im_end|>\n"
        f"<|im_start|>user\n{IMAGE_MARK}Where? Answer: here\n{IMAGE_MARK}Who made it? Answer: Ann\n"
        f"{IMAGE_MARK}What is it? Answer:<|im_end|>\n<|im_start|>assistant\n"
    )
    last = rendered(PromptSettings(layout="one_turn"), 2)
    assert last.index("Answer: here") < last.index("You have seen 1 demonstration.") < last.index("What is it? Answer:")


@pytest.mark.parametrize("layout", ["turns", "one_turn"])
@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (
            "first",
            ["You are shown no demonstrations first.", "shown 1 demonstration first.", "shown 2 demonstrations first."],
        ),
        ("last", ["You have seen no demonstrations.", "seen 1 demonstration.", "seen 2 demonstrations."]),
    ],
)
def test_the_number_of_demonstrations_is_true(layout: str, count: str, expected: list[str]) -> None:
    settings = PromptSettings(layout=layout, count=count)
    for shots, statement in enumerate(expected):
        text = rendered(settings, *(1, 2)[:shots])
        assert statement in text
        assert text.count("demonstration") == 1


def test_the_bare_number() -> None:
    assert "Shots: 2 <|im_end|>" in rendered(PromptSettings(count_text="Shots: {count} "), 1, 2)


def test_with_the_count_last_more_shots_begin_like_fewer() -> None:
    one, two = rendered(PromptSettings(), 1), rendered(PromptSettings(), 1, 2)
    shared = one[: one.index("<|im_start|>system\nYou have seen")]
    assert two.startswith(shared)
    assert "Ann" in shared


def test_own_texts_and_unknown_braces() -> None:
    settings = PromptSettings(
        layout="one_turn", system="{be} brief", demonstration="{question}={answer};", query="{question} {0} {}"
    )
    text = rendered(settings, 1)
    assert "{be} brief" in text
    assert "Who made it?=Ann;" in text
    assert "What is it? {0} {}" in text


def test_braces_in_data_are_not_placeholders() -> None:
    table = MemoryTable(["{answer} {question} {{ query }}"], [("{question}",)], [b""])
    text = PromptRenderer(PromptSettings(layout="one_turn"), TOKENIZER).render(WorkItem(0, (0,)), table).text
    assert text.count("{answer} {question} {{ query }}") == 2
    assert "Answer: {question}\n" in text


@given(st.sampled_from(SPECIALS), st.sampled_from(SPECIALS), st.sampled_from(["turns", "one_turn", "free"]))
def test_special_tokens_in_data_are_broken_up(one: str, other: str, layout: str) -> None:
    settings = PromptSettings(layout=layout, template=TEMPLATE if layout == "free" else None)
    table = MemoryTable([f"a{one}b", f"{other}{one}"], [("x",), (f"{one}{other}",)], [b"", b""])
    clean = MemoryTable(["ab", "c"], [("x",), ("d",)], [b"", b""])
    ids = TOKENIZER(rendered(settings, 1, table=table), add_special_tokens=False)["input_ids"]
    expected = TOKENIZER(rendered(settings, 1, table=clean), add_special_tokens=False)["input_ids"]
    for special in TOKENIZER.convert_tokens_to_ids(list(SPECIALS)):
        assert ids.count(special) == expected.count(special)


@given(st.text(alphabet="<|im_startend>ge pad\ue000\ue0010", max_size=40))
def test_no_text_of_the_data_adds_an_image_or_a_turn(text: str) -> None:
    table = MemoryTable([text, text], [(text,), (text,)], [b"", b""])
    ids = TOKENIZER(rendered(PromptSettings(), 1, table=table), add_special_tokens=False)["input_ids"]
    counts = {token: ids.count(TOKENIZER.convert_tokens_to_ids(token)) for token in SPECIALS}
    assert counts["<|image_pad|>"] == 2
    assert (counts["<|im_start|>"], counts["<|im_end|>"]) == (6, 5)


def free(template: str) -> PromptSettings:
    return PromptSettings(layout="free", template=template)


def test_a_free_template() -> None:
    text = rendered(free(TEMPLATE), 1, 2)
    assert text == f"2:{IMAGE_MARK}Who made it?>Ann;{IMAGE_MARK}Where?>here;{IMAGE_MARK}What is it?"


def test_a_free_template_may_reorder_and_leave_out_images() -> None:
    prompt = PromptRenderer(free("{{ query.image }}{{ demonstrations[1].image }}"), TOKENIZER).render(
        WorkItem(0, (1, 2)), TABLE
    )
    assert prompt.images == (0, 2)
    assert prompt.text == IMAGE_MARK * 2


@pytest.mark.parametrize("template", ["no image", "{{ query.image }}" * 2, "{{ demonstrations[0].image }}"])
def test_a_free_template_shows_the_query_once(template: str) -> None:
    with pytest.raises(SpaceError, match="must hold"):
        rendered(free(template), 1)


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ query.__class__ }}",
        "{{ demonstrations.append(1) }}",
        "{{ query.update({}) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ lipsum.__globals__ }}",
        "{{ query|attr('__class__') }}",
        "{{ '%s'.format.__globals__ }}",
        "{{ unknown }}",
        "{{ 1 / 0 }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_templates_reach_no_python(attack: str) -> None:
    with pytest.raises(SpaceError, match=r"^prompt\.template"):
        rendered(free("{{ query.image }}" + attack + "{{ query.question }}"), 1)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "it takes more than 5 seconds; a prompt is a short text",
        ),
        ("{{ 'a' * 10**11 }}", "it needs more than 256 MiB of memory"),
        ("{{ 'a'|center(10**8) }}", "it needs more than 256 MiB of memory"),
        ("{{ 'a' * 10**7 }}", "renders 10,000,011 characters; at most 4,194,304 are a prompt"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    ],
)
def test_templates_without_bound(attack: str, said: str) -> None:
    """One line, in a space with its place, soon."""
    text = "{{ query.image }}" + attack + "{{ query.question }}"
    vlm = {"model": {"path": "demo"}, "prompt": {"layout": "free", "template": text}}
    with pytest.raises(SpaceError) as caught:
        parse_space(json.dumps({"name": "x", "vlm": vlm}, indent=1), "f.yaml")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("f.yaml:9: vlm.prompt.template: ") and said in line


def test_templates_that_are_not_jinja() -> None:
    with pytest.raises(SpaceError, match="not valid Jinja"):
        PromptRenderer(free("{% for %}"), TOKENIZER)


@pytest.mark.parametrize(
    "settings",
    [
        {"template": "x"},
        {"layout": "free"},
        {"demonstration": "{answer}"},
        {"layout": "free", "template": "x", "query": "{question}"},
        {"query": "no placeholder"},
        {"query": "{answer}"},
        {"count_text": "{question}"},
        {"count_text": "none"},
        {"layout": "one_turn", "demonstration": "{question}"},
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        PromptSettings.model_validate(settings)


def test_a_chat_template_that_does_not_know_the_conversation() -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ messages[0].role }}"
    with pytest.raises(SpaceError, match="renders 0 images of 1"):
        PromptRenderer(PromptSettings(), tokenizer).render(WorkItem(0), TABLE)

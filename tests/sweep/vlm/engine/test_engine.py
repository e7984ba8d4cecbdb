"""Everything the engine does to be fast against transformers' own `generate`, one prompt at a time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from selector.errors import DataError
from sweep.settings.vlm import VlmSettings
from sweep.vlm.engine.counters import EngineStatistics
from sweep.vlm.engine.engine import Engine
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem
from tests.sweep.vlm.conftest import Make
from tests.sweep.vlm.models import MemoryTable, build_table, write_checkpoint
from tests.sweep.vlm.plain import Plain

FREE = (
    "{% for d in demonstrations %}{{ d.image }} {{ d.question }} A: {{ d.answer }}\n{% endfor %}"
    "{{ query.image }} {{ query.question }} A:"
)
PROMPTS = {
    "turns, count last": {"layout": "turns", "count": "last"},
    "turns, count first": {"layout": "turns", "count": "first"},
    "one turn, count last": {"layout": "one_turn", "count": "last"},
    "one turn, count first": {"layout": "one_turn", "count": "first"},
    "free": {"layout": "free", "template": FREE},
}


def random_items(seed: int, size: int, count: int) -> list[WorkItem]:
    """Chains of 0 to 4 shots, single prompts, and duplicates, in no order."""
    rng = random.Random(seed)
    items: list[WorkItem] = []
    while len(items) < count:
        query, demonstrations = rng.randrange(size), tuple(rng.sample(range(size), rng.randrange(5)))
        chain = range(rng.randrange(2) * len(demonstrations) + 1)
        items += [WorkItem(query, demonstrations[:shots]) for shots in chain]
        items.append(WorkItem(query, demonstrations))
    rng.shuffle(items)
    return items[:count]


def texts(results: list[Answer | Failure]) -> list[str]:
    assert all(isinstance(result, Answer) for result in results), results
    return [result.text for result in results if isinstance(result, Answer)]


@pytest.mark.parametrize("beams", [1, 2, 3])
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_tokens_are_those_of_plain_generate(make: Make, table: MemoryTable, prompt: dict[str, str], beams: int) -> None:
    settings = make(prompt=prompt, decoding={"num_beams": beams})
    items = random_items(beams, len(table), 6)
    plain = Plain(settings)
    assert texts(Engine(settings, "cpu").answer(table, items)) == [plain.text(table, item) for item in items]


@pytest.mark.parametrize(("length_penalty", "tokens"), [(0.0, 6), (2.5, 8), (-1.0, 5), (1.0, 1)])
def test_length_penalty_and_length_are_those_of_plain_generate(
    make: Make, table: MemoryTable, length_penalty: float, tokens: int
) -> None:
    decoding = {"num_beams": 4, "length_penalty": length_penalty, "max_new_tokens": tokens}
    settings = make(decoding=decoding)
    items = random_items(3, len(table), 5)
    plain = Plain(settings)
    assert texts(Engine(settings, "cpu").answer(table, items)) == [plain.text(table, item) for item in items]


def test_pixel_limits_are_those_of_the_settings(make: Make) -> None:
    table = build_table(6, largest=250)
    tokens = []
    for limits in ({"min_pixels": 784, "max_pixels": 784 * 4}, {"min_pixels": 784 * 30, "max_pixels": 784 * 40}):
        settings = make(images=limits)
        engine, plain = Engine(settings, "cpu"), Plain(settings)
        items = [WorkItem(query, (query + 1,)) for query in range(5)]
        results = engine.answer(table, items)
        assert texts(results) == [plain.text(table, item) for item in items]
        tokens.append(sum(result.prompt_tokens for result in results if isinstance(result, Answer)))
    assert tokens[0] < tokens[1]


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_other_numbers_of_key_heads(tmp_path: Path, table: MemoryTable, kv_heads: int) -> None:
    folder = write_checkpoint(tmp_path, seed=5, kv_heads=kv_heads)
    settings = VlmSettings.model_validate({"model": {"path": str(folder)}, "decoding": {"num_beams": 2}})
    items = random_items(4, len(table), 4)
    plain = Plain(settings)
    assert texts(Engine(settings, "cpu").answer(table, items)) == [plain.text(table, item) for item in items]


@pytest.fixture(scope="module")
def expected_by_beams() -> dict[int, list[Result]]:
    """Answers in batches of the usual size."""
    return {}


@pytest.mark.parametrize(
    "batching",
    [
        {"prefill_tokens": 1, "decode_rows": 1},
        {"prefill_tokens": 300, "decode_rows": 3, "vision_cache_gb": 0},
        {"prefill_tokens": 700, "decode_rows": 2, "vision_cache_gb": 2e-5, "image_threads": 1},
        {"prefill_tokens": 100_000, "decode_rows": 1000, "image_threads": 4},
    ],
)
@pytest.mark.parametrize("beams", [1, 3])
def test_batching_changes_nothing(
    make: Make,
    table: MemoryTable,
    batching: dict[str, float],
    beams: int,
    expected_by_beams: dict[int, list[Result]],
) -> None:
    items = random_items(7, len(table), 20)
    decoding = {"num_beams": beams}
    if beams not in expected_by_beams:
        expected_by_beams[beams] = Engine(make(decoding=decoding), "cpu").answer(table, items, score=True)
    expected = expected_by_beams[beams]
    found = Engine(make(decoding=decoding, batching=batching), "cpu").answer(table, items, score=True)
    assert texts(found) == texts(expected)
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Answer) and isinstance(other, Answer)
        assert one.gt_prob == pytest.approx(other.gt_prob, rel=1e-3)
        assert one.prompt_tokens == other.prompt_tokens


def test_one_at_a_time_is_the_same_as_together(engine: Engine, table: MemoryTable) -> None:
    items = random_items(9, len(table), 15)
    together = engine.answer(table, items)
    assert texts([engine.answer(table, [item])[0] for item in items]) == texts(together)


def test_answers_vary(engine: Engine, table: MemoryTable) -> None:
    """Else the comparisons above would show little."""
    found = engine.answer(table, [WorkItem(query, (query - 1,)) for query in range(1, len(table))])
    assert len(set(texts(found))) >= 8
    assert len({len(text) for text in texts(found)}) >= 3


def test_scores_are_those_of_a_plain_forward_pass(engine: Engine, plain: Plain, table: MemoryTable) -> None:
    items = random_items(11, len(table), 10)
    for item, result in zip(items, engine.answer(table, items, score=True), strict=True):
        answers = {tuple(plain.tokenizer(answer)["input_ids"]) for answer in table.answers(item.query)}
        expected = sum(plain.answer_probability(table, item, list(answer)) for answer in answers)
        assert isinstance(result, Answer)
        assert result.gt_prob == pytest.approx(expected, rel=1e-3)


def test_scores_of_a_prompt_without_trailing_space_take_a_leading_one(make: Make, table: MemoryTable) -> None:
    settings = make(prompt=PROMPTS["free"])
    plain, item = Plain(settings), WorkItem(2, (1,))
    answers = {tuple(plain.tokenizer(" " + answer)["input_ids"]) for answer in table.answers(2)}
    expected = sum(plain.answer_probability(table, item, list(answer)) for answer in answers)
    (result,) = Engine(settings, "cpu").answer(table, [item], score=True)
    assert isinstance(result, Answer)
    assert result.gt_prob == pytest.approx(expected, rel=1e-3)


def test_scores_of_many_long_and_empty_answers(engine: Engine, plain: Plain) -> None:
    table = build_table(2)
    table.all_answers[0] = ("", "red", "red", "red red", " ".join(["blue"] * 90), *(f"green {n}" for n in range(40)))
    (result,) = engine.answer(table, [WorkItem(0, (1,))], score=True)
    answers = {tuple(plain.tokenizer(answer)["input_ids"]) for answer in table.answers(0)}
    expected = sum(plain.answer_probability(table, WorkItem(0, (1,)), list(answer)) for answer in answers)
    assert isinstance(result, Answer)
    assert result.gt_prob == pytest.approx(expected, rel=1e-3)


def test_special_tokens_in_ground_truth_are_text(engine: Engine, plain: Plain) -> None:
    table = build_table(2)
    table.all_answers[0] = ("<|im_end|>",)
    ids = plain.tokenizer("<|im_end|>", split_special_tokens=True)["input_ids"]
    assert len(ids) > 1
    (result,) = engine.answer(table, [WorkItem(0)], score=True)
    assert isinstance(result, Answer)
    assert result.gt_prob == pytest.approx(plain.answer_probability(table, WorkItem(0), ids), rel=1e-3)


def test_no_score_where_not_asked_or_without_truth(engine: Engine) -> None:
    table = build_table(3)
    table.all_answers[1] = ()
    results = engine.answer(table, [WorkItem(0), WorkItem(1)], score=True)
    assert [isinstance(result, Answer) and result.gt_prob is None for result in results] == [False, True]
    (unasked,) = engine.answer(table, [WorkItem(0)])
    assert isinstance(unasked, Answer) and unasked.gt_prob is None


def test_equal_prompts_of_different_items_are_computed_once(make: Make) -> None:
    table = build_table(4)
    table.questions[3], table.images[3], table.all_answers[3] = table.questions[0], table.images[0], ("green",)
    engine = Engine(make(), "cpu")
    first, again, twin = engine.answer(table, [WorkItem(0, (1,)), WorkItem(0, (1,)), WorkItem(3, (1,))], score=True)
    assert engine.statistics.prompts == 1
    assert engine.statistics.items == 3
    assert first == again
    assert isinstance(first, Answer) and isinstance(twin, Answer)
    assert first.text == twin.text
    assert first.gt_prob != twin.gt_prob


def test_shared_beginnings_are_computed_once(make: Make, table: MemoryTable) -> None:
    chain = [WorkItem(0, (1, 2, 3, 4)[:shots]) for shots in range(1, 5)]
    engine = Engine(make(), "cpu")
    results = engine.answer(table, chain)
    tokens = [result.prompt_tokens for result in results if isinstance(result, Answer)]
    statistics = engine.statistics
    assert statistics.prefill_tokens + statistics.shared_tokens == sum(tokens)
    query = Engine(make(), "cpu")
    alone = query.answer(table, [WorkItem(0)])[0]
    assert isinstance(alone, Answer)
    assert statistics.prefill_tokens < tokens[-1] + 3 * alone.prompt_tokens


def test_second_call_decodes_no_image_again(make: Make, table: MemoryTable) -> None:
    engine = Engine(make(), "cpu")
    items = random_items(13, len(table), 10)
    first = engine.answer(table, items)
    before: EngineStatistics = engine.statistics
    images = {image for item in items for image in (item.query, *item.demonstrations)}
    assert before.images_decoded == len(images - {11})  # which shows what item 0 shows
    assert engine.answer(table, items) == first
    assert engine.statistics.images_decoded == before.images_decoded
    assert engine.statistics.vision_misses == before.vision_misses


def test_stop_strings_cut_the_answer(make: Make, table: MemoryTable) -> None:
    items = random_items(15, len(table), 12)
    whole = texts(Engine(make(), "cpu").answer(table, items))
    letters = [letter for letter in "".join(whole) if letter.isascii() and letter.isalpha()]
    stop = max(letters, key=letters.count)
    for beams in (1, 2):
        plain = texts(Engine(make(decoding={"num_beams": beams}), "cpu").answer(table, items))
        cut = Engine(make(decoding={"num_beams": beams, "stop": (stop, "never said")}), "cpu").answer(table, items)
        assert texts(cut) == [text.split(stop)[0].strip() for text in plain]
        assert texts(cut) != plain


def test_too_long_prompts_fail_with_the_numbers(tmp_path: Path, table: MemoryTable) -> None:
    folder = write_checkpoint(tmp_path, context=200)
    settings = VlmSettings.model_validate({"model": {"path": str(folder)}})
    short, long = Engine(settings, "cpu").answer(table, [WorkItem(0), WorkItem(0, (1, 2, 3, 4, 5, 6, 7, 8))])
    assert isinstance(short, Answer)
    assert isinstance(long, Failure) and long.kind is FailureKind.TOO_LONG
    assert "190" in long.reason


def test_stale_state_of_the_model_has_no_say(engine: Engine, table: MemoryTable) -> None:
    items = random_items(17, len(table), 5)
    expected = engine.answer(table, items)
    engine.loaded.model.model.rope_deltas = torch.full((1, 1), 1000)
    try:
        assert engine.answer(table, items) == expected
    finally:
        engine.loaded.model.model.rope_deltas = None


def test_a_demonstration_without_an_answer_fails_its_items(engine: Engine) -> None:
    table = build_table(3)

    def shown(item: int) -> str:
        if item == 1:
            raise DataError("item 1 has no answers")
        return "red"

    table.shown_answer = shown  # type: ignore[method-assign]
    good, bad = engine.answer(table, [WorkItem(0, (2,)), WorkItem(0, (1,))])
    assert isinstance(good, Answer)
    assert isinstance(bad, Failure) and bad.reason == "item 1 has no answers"


def test_batches_are_those_that_suit_the_device(make: Make) -> None:
    assert make().batching.prefill_tokens_on("cuda") == 16_384
    assert make(batching={"prefill_tokens": 77}).batching.prefill_tokens_on("cpu") == 77
    engine = Engine(make(), "cpu")
    assert (engine._runner.limits[0].value, engine._vision.patches.value) == (2048, 2048)


def test_no_items(engine: Engine, table: MemoryTable) -> None:
    assert engine.answer(table, []) == []


def test_half_precision_runs(make: Make, table: MemoryTable, checkpoint: Path) -> None:
    settings = make(model={"path": str(checkpoint), "precision": "bfloat16"}, decoding={"num_beams": 2})
    found = Engine(settings, "cpu").answer(table, random_items(1, len(table), 6), score=True)
    assert all(isinstance(result, Answer) and 0 <= (result.gt_prob or 0) <= 1 for result in found)


def test_many_images_go_in_chunks(make: Make, monkeypatch: pytest.MonkeyPatch, table: MemoryTable) -> None:
    items = random_items(19, len(table), 25)
    expected = Engine(make(), "cpu").answer(table, items)
    monkeypatch.setattr("sweep.vlm.engine.intake.CHUNK_IMAGES", 5)
    engine = Engine(make(), "cpu")
    assert engine.answer(table, items) == expected
    images = {image for item in items for image in (item.query, *item.demonstrations)}
    assert engine.statistics.images_decoded == len(images - {11})

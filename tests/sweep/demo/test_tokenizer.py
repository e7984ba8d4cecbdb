from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, Qwen2Tokenizer

from sweep.demo.concepts import COLOURS, QUESTIONS, SHAPES, SYLLABLES
from sweep.demo.model import DEMO_MODEL_FOLDER
from sweep.demo.tokenizer import SPECIALS, build_tokenizer

SHIPPED: Qwen2Tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL_FOLDER, local_files_only=True)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    normal = SHIPPED.backend_tokenizer.normalizer.normalize_str(text)
    assert SHIPPED.decode(SHIPPED(text).input_ids) == normal


def test_shipped_is_the_one_that_the_script_builds() -> None:
    built = build_tokenizer()
    shipped, made = (json.loads(tokenizer.backend_tokenizer.to_str())["model"] for tokenizer in (SHIPPED, built))
    assert shipped["vocab"] == made["vocab"]
    assert shipped["merges"] == made["merges"]
    assert SHIPPED.chat_template == built.chat_template


def test_words_are_short() -> None:
    for first in SYLLABLES:
        for second in SYLLABLES:
            assert len(SHIPPED(first + second).input_ids) == 2
    assert {len(SHIPPED(word).input_ids) for word in (*COLOURS, *SHAPES)} == {1}
    assert max(len(SHIPPED(text).input_ids) for wordings in QUESTIONS.values() for text in wordings) <= 6


def test_special_tokens_are_one_token_each() -> None:
    for token in SPECIALS:
        assert len(SHIPPED(token).input_ids) == 1
    assert SHIPPED.eos_token == "<|im_end|>"
    assert SHIPPED.pad_token == "<|endoftext|>"


def test_chat_template() -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Answer."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "dax"},
        {"role": "system", "content": "You have seen 1 demonstration."},
    ]
    assert SHIPPED.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nAnswer.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is it?<|im_end|>\n"
        "<|im_start|>assistant\ndax<|im_end|>\n"
        "<|im_start|>system\nYou have seen 1 demonstration.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("content", "shown"), [("Hi", "Hi"), ([{"type": "video"}], "<|vision_start|><|video_pad|><|vision_end|>")]
)
def test_a_system_message_is_added_where_none_begins(content: object, shown: str) -> None:
    text = SHIPPED.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    assert text == (
        f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{shown}<|im_end|>\n"
    )

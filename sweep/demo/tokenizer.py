"""The demo model's tokenizer: byte-level BPE in Qwen2's form, small, with a chat template like Qwen2.5-VL's.

Merges are learned from the syllables and the prompt's words alone, so that a nonce word is one token per syllable. Any
other text still encodes, in bytes at worst.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from sweep.demo.concepts import COLOURS, QUESTIONS, SHAPES, SYLLABLES

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY = 896  # at most, specials included
MAX_LENGTH = 4096

_PHRASES = (
    "system user assistant",
    "You are a helpful assistant.",
    "Answer the question about the last image with a short answer.",
    "You have seen no demonstrations. You have seen 1 demonstration. You have seen 2 demonstrations.",
    "You are shown no demonstrations first. You are shown 1 demonstration first. You are shown 4 demonstrations first.",
    "Question: Answer: Image: The answer is yes. No. Short answer",
    "What is this? Where is it? When was that? How many are there? Why? Which one? Can you see the picture?",
    "a an the of to and in on at for with by from as it its he she they we you this that these those not or but",
)

# System messages may stand anywhere; a conversation that does not begin with one gets the usual one.
CHAT_TEMPLATE = """\
{%- set counted = namespace(images=0, videos=0) -%}
{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
{%- set counted.images = counted.images + 1 -%}
{%- if add_vision_id -%}{{- 'Picture ' ~ counted.images ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'video' or 'video' in part -%}
{%- set counted.videos = counted.videos + 1 -%}
{%- if add_vision_id -%}{{- 'Video ' ~ counted.videos ~ ': ' -}}{%- endif -%}
{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- elif 'text' in part -%}
{{- part['text'] -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def build_tokenizer() -> Qwen2Tokenizer:
    """The tokenizer, the same on every call."""
    from transformers import Qwen2Tokenizer

    base = Qwen2Tokenizer(vocab={}, merges=[]).backend_tokenizer
    trained = Tokenizer(models.BPE())
    trained.normalizer = base.normalizer
    trained.pre_tokenizer = base.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIALS),
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(_corpus(), trainer)
    vocabulary = trained.get_vocab()
    merges = _merges(trained)
    numbers = {token: number for number, token in enumerate(sorted(vocabulary, key=lambda token: vocabulary[token]))}
    numbers |= {token: len(numbers) + place for place, token in enumerate(SPECIALS)}
    build: Any = Qwen2Tokenizer  # its merges are annotated as texts, and are pairs
    tokenizer: Qwen2Tokenizer = build(
        vocab=numbers,
        merges=merges,
        pad_token="<|endoftext|>",  # noqa: S106 - no password
        eos_token="<|im_end|>",  # noqa: S106
        extra_special_tokens=list(SPECIALS[1:]),
        model_max_length=MAX_LENGTH,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    return tokenizer


def write_tokenizer(folder: Path) -> None:
    """Store `tokenizer.json` and `tokenizer_config.json`, the chat template inside the latter."""
    build_tokenizer().save_pretrained(folder, save_jinja_files=False)


def _corpus() -> list[str]:
    """Syllables come a thousand times as often, so that their merges rank before all others."""
    questions = [question for wordings in QUESTIONS.values() for question in wordings]
    words = ["system", "user", "assistant", *COLOURS, *SHAPES, *(f" {word}" for word in (*COLOURS, *SHAPES))]
    syllables = [*SYLLABLES, *(f" {syllable}" for syllable in SYLLABLES)]
    return [*syllables * 2000, *[*questions, *words] * 8, *_PHRASES * 3]


def _merges(trained: Tokenizer) -> list[tuple[str, str]]:
    # They are only reachable through the serialised form.
    found: list[list[str]] = json.loads(trained.to_str())["model"]["merges"]
    return [(left, right) for left, right in found]

"""Work item -> the exact text the model reads, with a mark where each image goes.

The chat layouts go through the checkpoint's own chat template. A system message states the number of demonstrations.
With `count: last` (the default) it stands between the demonstrations and the query. The prompts of one query with 1, 2,
... demonstrations then begin alike, and their common part is computed once. `count: first` puts the statement into the
first system message, as published results did. Such prompts share nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

from sweep.errors import SpaceError
from sweep.settings.texts import FreeRenderer, Prompt, fill, rendered
from sweep.settings.vlm import CountPlace, Layout, PromptSettings
from sweep.vlm.work import WorkItem

IMAGE_PAD = "<|image_pad|>"
_PRIVATE = re.compile("[\ue000\ue001]")

Message = dict[str, Any]


class ChatTokenizer(Protocol):
    """What a prompt needs of a transformers tokenizer."""

    @property
    def all_special_tokens(self) -> list[str]:
        """Texts that become one token each."""

    def apply_chat_template(self, conversation: list[Message], **options: Any) -> Any:  # noqa: ANN401
        """A conversation as text."""

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """What templates may use by name, such as `eos_token`."""

    def get_chat_template(self) -> str:
        """The template. Raises ValueError where there is none."""

    def get_added_vocab(self) -> dict[str, int]:
        """Texts that become one token each, those not called special included."""


class PromptTable(Protocol):
    """What a prompt needs of an item table."""

    def question(self, item: int) -> str:
        """The item's question."""

    def shown_answer(self, item: int) -> str:
        """The answer that a demonstration shows."""


class PromptRenderer:
    """Renders work items by the settings and a checkpoint's chat template.

    Text of the data that spells a special token of the model (`<|im_end|>`) is broken up by a space, so that data
    cannot end a turn or claim an image.

    Args:
        settings: the words around questions and answers.
        tokenizer: the checkpoint's.
        foreign: whether the chat template may be anybody's. It is then rendered in a process of its own, whose start
            takes a second. False for the model that ships.
    """

    def __init__(self, settings: PromptSettings, tokenizer: ChatTokenizer, *, foreign: bool = True) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        self._foreign = foreign
        specials = sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}, key=len, reverse=True)
        self._special = re.compile("|".join(re.escape(token) for token in specials if token) or r"(?!)")
        self._free = None if settings.template is None else FreeRenderer(settings.template)

    def render(self, item: WorkItem, table: PromptTable) -> Prompt:
        """The prompt of a work item.

        Raises:
            SpaceError: the template fails or takes too much, or it uses an image twice or the query's not at all.
        """
        shots = [
            (self._clean(table.question(demo)), self._clean(table.shown_answer(demo))) for demo in item.demonstrations
        ]
        question = self._clean(table.question(item.query))
        images = (*item.demonstrations, item.query)
        if self._free is not None:
            return self._free.render(shots, question, images)
        messages = conversation(self._settings, shots, question)
        text = self._chat_text(messages)
        if text.count(IMAGE_PAD) != len(images):
            raise SpaceError(
                f"the checkpoint's chat template renders {text.count(IMAGE_PAD)} images of {len(images)}; it does not "
                "know this conversation: use layout one_turn, or a free template"
            )
        return Prompt(text, images)

    def _chat_text(self, messages: list[Message]) -> str:
        try:
            template = self._tokenizer.get_chat_template()
        except ValueError:
            raise SpaceError(
                "the checkpoint has no chat template; copy chat_template.jinja from the model that it was made from, "
                "or use layout free"
            ) from None
        if not self._foreign:
            text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return text
        value = {"template": template, "messages": messages, "variables": self._tokenizer.special_tokens_map}
        return rendered("render_chat", value, "the checkpoint's chat template")

    def _clean(self, text: str) -> str:
        return self._special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", _PRIVATE.sub("", text))


class _Example:
    """An item table to try a prompt with."""

    def question(self, item: int) -> str:
        return f"question {item}?"

    def shown_answer(self, item: int) -> str:
        return f"answer {item}"


def check_prompts(renderer: PromptRenderer) -> None:
    """Render prompts with 0 to 2 demonstrations, so that mistakes are found before anything is asked.

    Raises:
        SpaceError: as `PromptRenderer.render`.
    """
    for count in range(3):
        renderer.render(WorkItem(count, tuple(range(count))), _Example())


def conversation(settings: PromptSettings, shots: Sequence[tuple[str, str]], question: str) -> list[Message]:
    """The messages of a chat layout: (question, answer) per demonstration, then the query's question."""
    statement = _statement(settings, len(shots))
    first = settings.count is CountPlace.FIRST
    opening = f"{settings.system} {statement}".strip() if first else settings.system
    messages = [_message("system", opening)]
    if settings.layout is Layout.TURNS:
        for asked, answer in shots:
            messages.append(_user([_IMAGE, _text(fill(settings.query_text, {"question": asked}))]))
            messages.append(_message("assistant", answer))
    blocks: list[Message] = []
    if settings.layout is Layout.ONE_TURN:
        for asked, answer in shots:
            filled = fill(settings.demonstration_text, {"question": asked, "answer": answer})
            blocks += [_IMAGE, _text(filled)]
    if not first:
        messages += [_user(blocks)] if blocks else []
        messages.append(_message("system", statement))
        blocks = []
    query = _text(fill(settings.query_text, {"question": question}))
    return [*messages, _user([*blocks, _IMAGE, query])]


_IMAGE: Message = {"type": "image"}


def _statement(settings: PromptSettings, count: int) -> str:
    named = f"{count or 'no'} demonstration{'' if count == 1 else 's'}"
    return fill(settings.count_statement, {"demonstrations": named, "count": str(count)})


def _text(text: str) -> Message:
    return {"type": "text", "text": text}


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": [_text(text)]}


def _user(content: list[Message]) -> Message:
    return {"role": "user", "content": content}

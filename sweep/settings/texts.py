"""Words in braces that stand for something. No expressions, so that a space cannot run code or reach into objects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sweep.errors import SpaceError

_NAME = re.compile(r"\{([A-Za-z_]+)\}")


def check_text(text: str | None, known: set[str], needed: set[str]) -> str | None:
    """The text, if it uses known placeholders only, and at least one of those needed.

    Raises:
        ValueError: names what it may use.
    """
    if text is None:
        return None
    used = set(_NAME.findall(text))
    may = ", ".join(f"{{{name}}}" for name in sorted(known))
    if strange := sorted(used - known):
        raise ValueError(f"{{{strange[0]}}} is not known here; use {may}")
    if not used & needed:
        raise ValueError(f"uses none of {', '.join(f'{{{name}}}' for name in sorted(needed))}")
    return text


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its placeholders replaced. Values are not searched for placeholders again."""
    return _NAME.sub(lambda match: values.get(match[1], match[0]), text)


IMAGE_MARK = "<|vision_start|><|image_pad|><|vision_end|>"

_SLOT = re.compile("\ue000([0-9]+)\ue001")  # private characters: where the free template put which image


@dataclass(frozen=True, slots=True)
class Prompt:
    """The rendered text. `images` are item ids, in the order of the text's image marks."""

    text: str
    images: tuple[int, ...]


def compile_template(text: str) -> jinja2.Template:
    """A free template, in a sandbox that reaches no Python objects.

    Raises:
        SpaceError: not Jinja.
    """
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    try:
        return environment.from_string(text)
    except jinja2.TemplateError as error:
        raise SpaceError(f"prompt.template: not valid Jinja: {error}") from None


def check_template(text: str) -> None:
    """Render a free template for 0 to 2 demonstrations, so that its mistakes are found before anything is asked.

    Raises:
        SpaceError: says what is wrong with it.
    """
    renderer = FreeRenderer(text)
    for count in range(3):
        renderer.render([("question", "answer")] * count, "question", tuple(range(count + 1)))


class FreeRenderer:
    """Renders a free template."""

    def __init__(self, text: str) -> None:
        self._template = compile_template(text)

    def render(self, shots: Sequence[tuple[str, str]], question: str, images: tuple[int, ...]) -> Prompt:
        """The prompt. `images` are the items of the demonstrations, then of the query. Raises SpaceError."""
        slots = [f"\ue000{place}\ue001" for place in range(len(images))]
        demonstrations = [
            {"image": slot, "question": asked, "answer": answer}
            for slot, (asked, answer) in zip(slots, shots, strict=False)
        ]
        query = {"image": slots[-1], "question": question}
        try:
            text = self._template.render(demonstrations=demonstrations, query=query, count=len(shots))
        except Exception as error:  # a template may fail in any way that its expressions can
            raise SpaceError(f"prompt.template: {type(error).__name__}: {error}") from None
        order = [int(place) for place in _SLOT.findall(text)]
        if len(set(order)) != len(order) or len(images) - 1 not in order:
            raise SpaceError("prompt.template: must hold {{ query.image }} once, and no image twice")
        return Prompt(_SLOT.sub(IMAGE_MARK, text), tuple(images[place] for place in order))

"""Words in braces that stand for something. No expressions, so that a space cannot run code or reach into objects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selector.helper import CallError, LimitError, shared_helper
from sweep.errors import SpaceError
from sweep.settings.rendering import LIMITS

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


def check_template(text: str) -> None:
    """Render a free template for 0 to 2 demonstrations, so that its mistakes are found before anything is asked.

    Raises:
        SpaceError: says what is wrong with it.
    """
    renderer = FreeRenderer(text)
    for count in range(3):
        renderer.render([("question", "answer")] * count, "question", tuple(range(count + 1)))


def rendered(function: str, value: dict[str, Any], who: str) -> str:
    """What a function of `sweep.settings.rendering` says, called in its helper process.

    Raises:
        SpaceError: the template is not valid, fails in any way that its expressions can, or takes too much. Begins
            with `who`.
    """
    try:
        _, content = shared_helper("sweep.settings.rendering", LIMITS).call(function, value)
    except LimitError as error:
        raise SpaceError(f"{who}: was stopped: {error}; a prompt is a short text") from None
    except CallError as error:
        reason = error.text if error.kind == "TemplateError" else f"{error.kind}: {error.text}"
        kind = "not valid Jinja: " if error.kind in ("TemplateSyntaxError", "TemplateAssertionError") else ""
        raise SpaceError(f"{who}: {kind}{error.text if kind else reason}") from None
    return content.decode("utf-8", "surrogatepass")


class FreeRenderer:
    """Renders a free template.

    Raises:
        SpaceError: it is not Jinja.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        rendered("compile_free", {"template": text}, "prompt.template")

    def render(self, shots: Sequence[tuple[str, str]], question: str, images: tuple[int, ...]) -> Prompt:
        """The prompt. `images` are the items of the demonstrations, then of the query. Raises SpaceError."""
        slots = [f"\ue000{place}\ue001" for place in range(len(images))]
        demonstrations = [
            {"image": slot, "question": asked, "answer": answer}
            for slot, (asked, answer) in zip(slots, shots, strict=False)
        ]
        query = {"image": slots[-1], "question": question}
        variables = {"demonstrations": demonstrations, "query": query, "count": len(shots)}
        text = rendered("render_free", {"template": self._text, "variables": variables}, "prompt.template")
        order = [int(place) for place in _SLOT.findall(text)]
        if len(set(order)) != len(order) or len(images) - 1 not in order:
            raise SpaceError("prompt.template: must hold {{ query.image }} once, and no image twice")
        return Prompt(_SLOT.sub(IMAGE_MARK, text), tuple(images[place] for place in order))

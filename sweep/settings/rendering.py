"""Renders templates that others wrote, in a process of its own (`selector.helper`): a template may loop without end.

Functions take and give JSON values. They run in the helper.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from selector.helper import Limits, serve

LIMITS = Limits(seconds=5, mebibytes=256)
"""Of one prompt, which takes some 0.1 ms and hardly any memory."""
MOST_CHARACTERS = 4 * 2**20
"""Of a rendered prompt: far more than any context takes."""


@lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
    """A free template, in a sandbox that reaches no Python objects."""
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template)


def compile_free(value: Any, _content: bytes) -> tuple[None, bytes]:  # noqa: ANN401 (JSON)
    """Refuse what is not Jinja."""
    _compiled(value["template"])
    return None, b""


def render_free(value: Any, _content: bytes) -> tuple[None, bytes]:  # noqa: ANN401 (JSON)
    """The text of a free template, as UTF-8."""
    return None, _bounded(_compiled(value["template"]).render(**value["variables"]))


def render_chat(value: Any, _content: bytes) -> tuple[None, bytes]:  # noqa: ANN401 (JSON)
    """The text of a checkpoint's chat template, by the function that `apply_chat_template` calls, as UTF-8."""
    from transformers.utils.chat_template_utils import render_jinja_template

    texts: Any = render_jinja_template(
        conversations=[value["messages"]],
        chat_template=value["template"],
        add_generation_prompt=True,
        **value["variables"],
    )
    return None, _bounded(texts[0][0])


def _bounded(text: str) -> bytes:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"renders {len(text):,} characters; at most {MOST_CHARACTERS:,} are a prompt")
    return text.encode("utf-8", "surrogatepass")


if __name__ == "__main__":
    serve({"compile_free": compile_free, "render_free": render_free, "render_chat": render_chat})

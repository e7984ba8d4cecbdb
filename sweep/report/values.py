"""Values of a document as people read them: one rule for HTML and Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweep.evaluation.wording import p_text
from sweep.results.overview.model import Format, Interval, Value

NOTHING = ""


def text_of(value: Value, form: Format) -> str:
    """A value of a column. Empty for None and for numbers that are none."""
    if isinstance(value, Interval):
        ends = f"[{_number(value.low, form, unit=False)}, {_number(value.high, form, unit=False)}]"
        return ends if value.value is None else f"{_number(value.value, form)} {ends}"
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower() if form is Format.NUMBER else "yes" if value else "no"
    if isinstance(value, str):
        return value
    return _number(value, form)


def _number(value: float, form: Format, *, unit: bool = True) -> str:
    if not math.isfinite(value):
        return NOTHING
    match form:
        case Format.COUNT:
            return f"{value:,.0f}"
        case Format.LOSS:
            return f"{value:.4f}"
        case Format.SHORT:
            return f"{value:.2f}"
        case Format.SIGNED:
            return f"{round(value, 2) + 0.0:+.2f}"
        case Format.SHARE:
            return f"{100 * value:.1f}{' %' if unit else ''}"
        case Format.POINTS:
            return f"{round(100 * value, 1) + 0.0:+.1f}"
        case Format.P:
            return p_text(value)
        case Format.SECONDS:
            return f"{value:,.1f} s" if value < 100 else f"{value:,.0f} s"
        case _:
            return f"{value:,.0f}" if value == int(value) and abs(value) >= 1000 else f"{value:.3g}"


def clean(parts: Sequence[str], between: str = "\n") -> str:
    """Parts as one text of a file. Halves of letters, which strangers' files can hold and UTF-8 cannot, become `?`."""
    return (between.join(part for part in parts if part) + "\n").encode("utf-8", "replace").decode()

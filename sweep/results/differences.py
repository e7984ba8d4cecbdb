"""What differs between a stored value and the right one, place by place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

MISSING = object()
GONE = ("missing", "added")
"""What is said of a file, or of a part of one, that is not there or should not be there."""
LONGEST = 60


@dataclass(frozen=True)
class Fault:
    """One thing in a run that is not as it should be.

    Attributes:
        file: relative to the run folder.
        where: in the file, such as `trials[3].value`. Empty where the file as a whole is meant.
        stored: what is there, in words.
        right: what should be there, in words. Empty where nobody knows.
        source: the file that the right value comes from. Empty where it is no file of the run.
        derived: whether the right value was computed from the source, and does not stand in it.
    """

    file: str
    where: str
    stored: str
    right: str = ""
    source: str = ""
    derived: bool = False

    @property
    def place(self) -> str:
        """File and place in it."""
        return f"{self.file}: {self.where}" if self.where else self.file

    @property
    def sentence(self) -> str:
        """In one line."""
        return f"{self.place}: {self.stored}" + (f"; right: {self.right}" if self.right else "")


def faults_of(
    file: str,
    stored: Any,  # noqa: ANN401
    right: Any,  # noqa: ANN401
    *,
    where: str = "",
    source: str = "",
    derived: bool = False,
    tolerance: float = 0.0,
) -> list[Fault]:
    """A fault for every place in which two JSON values differ.

    Args:
        file: that holds the first one.
        stored: any JSON value. Objects may have their keys in any order.
        right: what it should be. Enums and tuples are taken as what JSON makes of them.
        where: the place of both in the file.
        source: see `Fault`.
        derived: see `Fault`.
        tolerance: that floats may differ by, absolute below 1 and relative above.
    """
    text = json.dumps(right)
    if json.dumps(stored) == text:  # as nearly always, and far faster than a look at every value
        return []
    found = _differences(stored, json.loads(text), tolerance, where)
    return [Fault(file, place, _shown(one), _shown(other), source, derived) for place, one, other in found]


def known_fields(stored: Any, right: Any) -> Any:  # noqa: ANN401
    """The right value without fields that the stored one lacks: an earlier version did not know them.

    That a field was removed from a file is for the seal to say.
    """
    if isinstance(stored, dict) and isinstance(right, dict):
        return {key: known_fields(stored[key], value) for key, value in right.items() if key in stored}
    if isinstance(stored, list) and isinstance(right, list | tuple) and len(stored) == len(right):
        return [known_fields(one, other) for one, other in zip(stored, right, strict=True)]
    return right


def without_echoes(faults: Sequence[Fault], seal: str) -> list[Fault]:
    """Faults without those that only repeat others.

    Where two files disagree, a check cannot know which of them is right, but the seal does. So a fault of a file that
    the seal confirms is one of its source, if that was changed. And that a file was changed need not be said where a
    fault says what was changed in it.

    Args:
        faults: of all checks, those against the seal among them.
        seal: the file that is the source of those.
    """
    by_seal = [fault for fault in faults if fault.source == seal]
    changed = {fault.file for fault in by_seal}
    exact, turned = [], []
    for fault in faults:
        if fault.source in changed and fault.file not in changed:
            turned.append(fault)
        elif fault.source != seal:
            exact.append(fault)
    known = {fault.file for fault in exact}
    exact += [
        replace(fault, file=fault.source, stored=fault.right, right=fault.stored, source=fault.file)
        for fault in turned
        if fault.source not in known and not fault.derived
    ]
    known = {fault.file for fault in exact}
    places = {fault.place for fault in exact if fault.stored in GONE}
    exact += [one for one in by_seal if one.file not in known or (one.stored in GONE and one.place not in places)]
    return list({(one.place, one.stored, one.right): one for one in reversed(exact)}.values())[::-1]


def _differences(stored: Any, right: Any, tolerance: float, where: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401
    if isinstance(stored, dict) and isinstance(right, dict):
        for key in [*stored, *(key for key in right if key not in stored)]:
            place = f"{where}.{key}" if where else str(key)
            yield from _differences(stored.get(key, MISSING), right.get(key, MISSING), tolerance, place)
    elif isinstance(stored, list | tuple) and isinstance(right, list | tuple):
        for index in range(max(len(stored), len(right))):
            one, other = (values[index] if index < len(values) else MISSING for values in (stored, right))
            yield from _differences(one, other, tolerance, f"{where}[{index}]")
    elif not _same(stored, right, tolerance):
        yield where, stored, right


def _same(stored: Any, right: Any, tolerance: float) -> bool:  # noqa: ANN401
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (stored, right))
    if not numbers:
        return type(stored) is type(right) and bool(stored == right)
    if math.isnan(stored) or math.isnan(right):
        return math.isnan(stored) and math.isnan(right)
    return bool(stored == right) or abs(stored - right) <= tolerance * max(1.0, abs(right))


def _shown(value: Any) -> str:  # noqa: ANN401
    if value is MISSING:
        return "missing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."

"""Which valid name somebody meant: by letters, by words, by initials (`learning_rate` is `lr`), and by other tools'
words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache

ENOUGH = 0.6
SHOWN = 30
LONGEST = 100  # characters of a name that are looked at
MOST_HINTS = 100  # a file with more unknown keys than that has other troubles, and each search takes a millisecond
COMMON_WORDS = frozenset({"coef", "factor", "max", "min", "n", "num", "number", "of", "rate", "size", "value"})
"""Words that say little about which setting is meant."""
OTHER_WORDS = {
    "eta": "reduction_factor",
    "grace_period": "min_resource",
    "max_iter": "max_resource",
    "max_t": "max_resource",
    "min_iter": "min_resource",
}
"""What W&B and Ray Tune call settings of ours."""


def nearest(name: str, valid: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """`the nearest valid key is 'x'`, or which valid keys there are.

    Args:
        name: what was written; may be a dotted path.
        valid: what may stand there.
        elsewhere: full paths of other places. Asked if nothing near may stand there.
    """
    names = list(valid)
    found = _best(name, names, ENOUGH)
    if everywhere := list(elsewhere):
        very_name = _best(name, everywhere, 0.95)  # in another place
        found = _best(name, names, 0.8) or very_name or found or _best(name, everywhere, 0.85)
    if not found:
        return _listed(name, names)
    verb = "key is" if len(found) == 1 else "keys are"
    return (
        f"the nearest valid {verb} {', '.join(map(repr, found[:-1]))}{' and ' if len(found) > 1 else ''}{found[-1]!r}"
    )


def closest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that is most like the given one. None if none is like it.

    Names are compared by their last part. The part before it decides between equals.
    """
    return next(iter(_best(name, valid, ENOUGH)), None)


def _best(name: str, valid: Iterable[str], enough: float) -> list[str]:
    """The names with the best score, more than one where nothing tells them apart."""
    section, leaf = _split(name)
    scores: dict[str, float] = {}
    for candidate in valid:
        other_section, other_leaf = _split(candidate)
        likeness = _likeness(leaf, other_leaf)
        if likeness >= enough:
            scores[candidate] = likeness + 0.5 * _ratio(section, other_section)
    return [candidate for candidate, score in scores.items() if score == max(scores.values())]


def _split(path: str) -> tuple[str, str]:
    section, _, leaf = path[:LONGEST].lower().rpartition(".")
    return section, leaf.replace("-", "_")


def _likeness(given: str, candidate: str) -> float:
    """From 0 to 1, which means equal."""
    if OTHER_WORDS.get(given) == candidate or candidate == _initials(given) or given == _initials(candidate):
        return 0.9
    words, others = _words(given), _words(candidate)
    shared = sum(any(_is_short_for(word, other) for other in others) for word in words)
    first = 0.05 * candidate.startswith(given)
    by_words = 0.6 + 0.3 * shared / max(len(words), len(others)) + first if shared else 0.0
    return max(_ratio(given, candidate, max(by_words, ENOUGH)), by_words)


def _is_short_for(word: str, other: str) -> bool:
    short, long = sorted((word, other), key=len)
    return long.startswith(short) and (short == long or len(short) >= 3)


@lru_cache(10_000)
def _ratio(one: str, other: str, at_least: float = 0.0) -> float:
    """How much of the letters two names share, in order. 0 where that is less than `at_least`, which is quick."""
    matcher = difflib.SequenceMatcher(None, one, other)
    if matcher.real_quick_ratio() < at_least or matcher.quick_ratio() < at_least:
        return 0.0
    return matcher.ratio()


@lru_cache(1000)
def _initials(name: str) -> str | None:
    parts = [part for part in name.split("_") if part]
    return "".join(part[0] for part in parts) if len(parts) > 1 else None


@lru_cache(1000)
def _words(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[_\d]+", name)) - COMMON_WORDS - {""}


def _listed(name: str, names: list[str]) -> str:
    """The valid names: of paths those of the section that was meant, or else the sections."""
    dotted = [item for item in names if "." in item]
    if dotted and len(names) > SHOWN // 2:
        section = closest(name.rpartition(".")[0], {item.rpartition(".")[0] for item in dotted})
        if section is None:
            firsts = dict.fromkeys(item.partition(".")[0] for item in dotted)
            return f"settings are those of {', '.join(firsts)}, such as {dotted[0]}"
        names = [item for item in dotted if item.rpartition(".")[0] == section]
    return f"valid keys are {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"

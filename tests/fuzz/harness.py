"""Mutations of bytes and of JSON values, and what loaders are held to: a typed error or a result, soon, in bounds."""

from __future__ import annotations

import copy
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from selector.errors import UserError

settings.register_profile("fuzz-short", max_examples=60)
settings.register_profile("fuzz-medium", max_examples=1000)
settings.register_profile("fuzz-long", max_examples=20_000)
PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "fuzz-short"))
MEMORY = 2 * 2**30
LONGEST = 2000
MOST_LINES = 21  # a space's problems stand on lines of their own, twenty of them and how many more


def budget(share: float = 1.0) -> settings:
    """Of one test: `HYPOTHESIS_PROFILE=fuzz-long` (or `make fuzz`) for hours, otherwise about a second."""
    return settings(
        max_examples=max(1, int(PROFILE.max_examples * share)),
        deadline=timedelta(seconds=20),  # no example may hang
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def bounded_memory() -> Iterator[None]:
    """A file of some kilobytes may not make anybody ask for gigabytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def held(load: Callable[[], Any], *also: type[Exception]) -> Any:
    """The result, or None where the loader gives a typed error of bounded length; anything else fails."""
    try:
        with bounded_memory():
            return load()
    except (UserError, *also) as error:
        lines = str(error).splitlines()
        assert 0 < len(lines) <= MOST_LINES and max(map(len, lines)) < LONGEST, error
        return None


EDGES = (0, 1, 0x7F, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)


@st.composite
def mutated(draw: st.DrawFn, base: bytes) -> bytes:
    """`base` after one to six cuts, insertions, repetitions, flips and edge values in the place of integers."""
    content = bytearray(base)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.sampled_from((1, 2, 4, 8, 64, 1000)))
        kind = draw(st.sampled_from(("flip", "edge", "cut", "insert", "repeat", "swap", "end")))
        if kind == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "edge":
            width = draw(st.sampled_from((1, 2, 4, 8)))
            content[place : place + width] = (draw(st.sampled_from(EDGES)) % 256**width).to_bytes(width, "little")
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "insert":
            content[place:place] = draw(st.binary(max_size=length))
        elif kind == "repeat":
            content[place:place] = content[place : place + length]
        elif kind == "swap":
            other = draw(st.integers(0, max(0, len(content) - 1)))
            content[place : place + length], content[other : other + length] = (
                content[other : other + length],
                content[place : place + length],
            )
        else:
            del content[place:]
    return bytes(content)


NUMBERS = st.sampled_from((0, -1, 1, 2, 3, 255, 10**5, 2**31, 2**53 + 1, 2**63, 10**30, 1e308, 0.5, -0.0, 5e-324, 1e-9))
SCALARS = (
    st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=6) | st.sampled_from(("../../x", "/etc", "\0"))
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))


def paths_into(value: Any) -> list[tuple[Any, ...]]:
    """Every place of a JSON value but the whole."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in steps for path in [(key,), *((key, *rest) for rest in paths_into(inner))]]


@st.composite
def altered(draw: st.DrawFn, base: Any) -> Any:
    """A JSON value with one to three places replaced, removed, doubled, wrapped or copied from elsewhere."""
    content = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, 3))):
        places = paths_into(content)
        if not places:
            return content
        *way, last = draw(st.sampled_from(places))
        target = content
        for step in way:
            target = target[step]
        kind = draw(st.sampled_from(("replace", "remove", "wrap", "copy", "rename")))
        if kind == "replace":
            target[last] = draw(VALUES)
        elif kind == "remove":
            del target[last]
        elif kind == "wrap":
            target[last] = draw(st.sampled_from(([target[last]], {"x": target[last]}, str(target[last]))))
        elif kind == "copy":
            source = content
            for step in draw(st.sampled_from(paths_into(content))):
                source = source[step]
            target[last] = copy.deepcopy(source)
        elif isinstance(target, dict):
            target[draw(st.text(max_size=5))] = target.pop(last)
    return content

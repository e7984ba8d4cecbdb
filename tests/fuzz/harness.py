"""What loaders are held to, whatever they read: a typed error or a result, soon, in bounds."""

from __future__ import annotations

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
from tests.fuzz.mutations import NUMBERS, TEXTS, altered_value, mutated_bytes

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
        lines = str(error).encode().decode().splitlines()  # a half of a surrogate pair could not be printed
        assert 0 < len(lines) <= MOST_LINES and max(map(len, lines)) < LONGEST, error
        return None


@st.composite
def mutated(draw: st.DrawFn, base: bytes) -> bytes:
    """`mutated_bytes`, drawn by hypothesis."""
    return mutated_bytes(base, draw(st.randoms(use_true_random=False)))


SCALARS = (
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.floats() | st.text(max_size=6) | st.sampled_from(TEXTS)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))


@st.composite
def altered(draw: st.DrawFn, base: Any) -> Any:
    """`altered_value`, drawn by hypothesis."""
    random = draw(st.randoms(use_true_random=False))
    return altered_value(base, random, lambda: draw(VALUES), lambda: draw(st.text(max_size=5)))

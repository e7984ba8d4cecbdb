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

from selector.errors import UserError

settings.register_profile("fuzz-short", max_examples=60)
settings.register_profile("fuzz-medium", max_examples=1000)
settings.register_profile("fuzz-long", max_examples=20_000)
PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "fuzz-short"))
MEMORY = 2 * 2**30
LONGEST = 2000
MOST_LINES = 21  # a space's problems stand on lines of their own, twenty of them and how many more


def budget() -> settings:
    """Of one test: `HYPOTHESIS_PROFILE=fuzz-long` (or `make fuzz`) for hours, otherwise about a second."""
    return settings(
        max_examples=PROFILE.max_examples,
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

"""Another clock for a process and all that it starts: a library that adds hours to the time of day."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

# Clocks that never go back stay as they are: they tell durations, and no two machines agree on them anyway.
LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t ahead(void) { const char *text = getenv("CLOCK_AHEAD"); return text ? atol(text) : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec; now->tv_usec = exact.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
"""


def ahead(folder: Path, hours: float) -> dict[str, str]:
    """Variables under which a process is that far ahead, or behind. Skips the test where there is no compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler, so no process can have another clock")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(int(hours * 3600))}

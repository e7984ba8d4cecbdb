"""The process that works on foreign content: what it returns, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from selector.helper import CallError, Helper, LimitError, Limits, serve, shared_helper

LIMITS = Limits(seconds=1, mebibytes=64)


def echo(value: Any, content: bytes) -> tuple[Any, bytes]:
    return [value, os.getpid(), sys.gettrace() is None], content[::-1]


def spin(_value: Any, _content: bytes) -> tuple[Any, bytes]:
    while True:
        pass


def grow(value: Any, _content: bytes) -> tuple[Any, bytes]:
    return len(bytearray(value)), b""


def fail(value: Any, _content: bytes) -> tuple[Any, bytes]:
    raise ValueError(value)


def crash(value: Any, _content: bytes) -> tuple[Any, bytes]:
    os.kill(os.getpid(), value)
    return None, b""


def chatter(_value: Any, _content: bytes) -> tuple[Any, bytes]:
    print("a library that prints")
    return None, b""


@pytest.fixture(scope="module")
def helper() -> Helper:
    return Helper(__name__, LIMITS)


def test_values_and_bytes_go_and_come(helper: Helper) -> None:
    content = bytes(range(256)) * 1000
    (value, process, _), found = helper.call("echo", {"a": [1, None, "ü\ud800"]}, content)
    assert value == {"a": [1, None, "ü\ud800"]} and found == content[::-1]
    assert process != os.getpid() and helper.call("echo")[0][1] == process  # it stays


def test_an_error_is_the_callers(helper: Helper) -> None:
    before = helper.call("echo")[0][1]
    with pytest.raises(CallError) as caught:
        helper.call("fail", "first line\nsecond line")
    assert (caught.value.kind, caught.value.text) == ("ValueError", "first line")
    assert helper.call("echo")[0][1] == before


def test_too_long(helper: Helper) -> None:
    started = time.monotonic()
    with pytest.raises(LimitError, match="it takes more than 1 seconds"):
        helper.call("spin")
    assert time.monotonic() - started < LIMITS.seconds * 15  # of computing, on a machine with others
    assert helper.call("echo", 1)[0][0] == 1  # a new one


def test_too_much_memory(helper: Helper) -> None:
    assert helper.call("grow", 16 * 2**20)[0] == 16 * 2**20
    with pytest.raises(LimitError, match="it needs more than 64 MiB of memory"):
        helper.call("grow", 128 * 2**20)
    assert helper.call("grow", 16 * 2**20)[0] == 16 * 2**20


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_is_no_crash_of_the_caller(helper: Helper, number: signal.Signals) -> None:
    with pytest.raises(LimitError, match=rf"it ends the process that works on it \({number.name}\)"):
        helper.call("crash", int(number))
    assert helper.call("echo", 1)[0][0] == 1


def test_what_is_printed_is_no_answer(helper: Helper) -> None:
    assert helper.call("chatter") == (None, b"")


def test_a_helper_ends_with_its_owner() -> None:
    mortal = Helper(__name__, LIMITS)
    process = mortal.call("echo")[0][1]
    del mortal
    assert not Path(f"/proc/{process}").exists()


def test_a_helper_that_nobody_calls_ends_and_comes_again() -> None:
    brief = Helper(__name__, LIMITS, idle_seconds=0.1)
    process = brief.call("echo")[0][1]
    while Path(f"/proc/{process}/stat").read_text().split()[2] != "Z":
        time.sleep(0.05)
    assert brief.call("echo", 1)[0][0] == 1


def test_one_helper_for_a_purpose() -> None:
    assert shared_helper(__name__, LIMITS) is shared_helper(__name__, LIMITS)
    assert shared_helper(__name__, LIMITS) is not shared_helper(__name__, Limits(2, 64))


if __name__ == "__main__":
    functions = (echo, spin, grow, fail, crash, chatter)
    serve({function.__name__: function for function in functions})

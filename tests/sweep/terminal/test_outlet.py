"""What leaves the program: nothing that a terminal would obey, whatever the stream is and whoever reads it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweep.terminal.console import Screen, screen
from sweep.terminal.outlet import Outlet, harmless

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"
HOSTILE = [CLIPBOARD, "\x1b[2J", "\x9b31m", "a\rb", "\u202egpj.exe", "\x08\x08", "\x1bP+q\x1b\\", "\ud83d", "\x7f"]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    clean = harmless(f"before {text} after")
    assert len(clean) == len(f"before {text} after")
    assert clean.startswith("before ") and clean.endswith(" after") and clean.isprintable()


@given(st.text(st.characters(), max_size=40))
def test_ordinary_text_stays(text: str) -> None:
    clean = harmless(text)
    assert harmless(clean) == clean
    for before, after in zip(text, clean, strict=True):
        if unicodedata.category(before)[0] in "LMNPSZ" and before not in "\u2028\u2029":
            assert after == before
        if before in "\t\n":
            assert after == before
    clean.encode("utf-8")


def drawn(draw: object, width: int = 60) -> str:
    """A renderable on a terminal that shows colours."""
    file = io.StringIO()
    console = Screen(file=file, width=width, force_terminal=True, color_system="truecolor")
    console.print(draw, style="bold")
    return file.getvalue()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_screen_cleans_whatever_it_draws(hostile: str) -> None:
    table = Table(title=f"title {hostile}", caption=hostile)
    table.add_column(f"column {hostile}")
    table.add_row(hostile)
    table.add_row(Text(f"text {hostile}"))
    for drawable in (f"seen {hostile}", Text(f"seen {hostile}"), table):
        shown = drawn(drawable)
        assert "\x1b[1" in shown  # its own style
        for code in (CLIPBOARD, "\x1b]", "\x1b[2J", "\x9b", "\r", "\u202e", "\x08", "\x1bP", "\ud83d", "\x7f"):
            assert code not in shown


def test_a_live_view_is_cleaned_and_still_moves_the_cursor() -> None:
    file = io.StringIO()
    console = Screen(file=file, width=40, force_terminal=True)
    with Live(Text(f"trial {CLIPBOARD}"), console=console, refresh_per_second=1) as live:
        live.update(Text("trial 2"), refresh=True)
    assert ("\x1b]" not in file.getvalue() and "\x1b[1A" in file.getvalue()) or "\x1b[2K" in file.getvalue()


def test_columns_keep_their_width() -> None:
    table = Table.grid()
    table.add_column(width=12)
    table.add_column()
    table.add_row("\x1b" * 4, "next")
    assert drawn(table).splitlines()[0].find("next") >= 12


@pytest.mark.parametrize(("columns", "width"), [("72", 72), ("", 160), ("0", 160), ("wide", 160), ("-3", 160)])
def test_columns_of_the_environment_count_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert screen(io.StringIO()).width == width


PROGRAM = """
import sys
from sweep.terminal.outlet import open_streams, write, write_error
from sweep.terminal.console import screen
open_streams()
file = open(sys.argv[1], "w")  # would get a closed descriptor's number
for _ in range(3000):
    write("{text}\\n")
    screen().print("{text}")
write_error("{text}\\n")
file.write("mine")
sys.exit(7)
"""


def run(file: object, redirect: str, text: str = "ok", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The program in a shell, with its exit code and nothing printed but by it."""
    command = f'"$0" -c "$1" "$2" {redirect}; exit ${{PIPESTATUS[0]}}'
    program = PROGRAM.replace("{text}", text)
    return subprocess.run(
        ["bash", "-c", command, sys.executable, program, str(file)],
        capture_output=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize(
    "redirect", [">&- 2>&-", "<&- >&- 2>&-", "| head -1", "2>&1 | head -1", "| true"], ids=lambda text: text
)
def test_a_reader_that_is_gone_changes_neither_work_nor_exit_code(tmp_path: Path, redirect: str) -> None:
    file = tmp_path / "mine"
    done = run(file, redirect)
    assert done.returncode == 7
    assert file.read_text() == "mine"
    assert done.stderr in (b"", b"ok\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_a_stream_cannot_encode_is_replaced(tmp_path: Path, encoding: str) -> None:
    done = run(tmp_path / "mine", "", text="caf\\u00e9 \\u2265 \\u4e2d", PYTHONIOENCODING=encoding)
    assert done.returncode == 7 and b"Traceback" not in done.stderr
    assert done.stdout.startswith(b"caf") and b"?" in done.stdout


def test_a_terminal_that_is_closed_is_silence() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        outlet = Outlet(stream)
        assert outlet.isatty()
        os.close(ours)
        for _ in range(3):
            outlet.write("nobody reads this\n")
            outlet.flush()


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as stream, pytest.raises(OSError, match="No space left"):
        outlet = Outlet(stream)
        try:
            outlet.write("lost\n" * 100_000)
            outlet.flush()
        finally:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)

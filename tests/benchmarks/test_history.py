"""Accepted figures, and the table that holds later ones against them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import figures, history
from benchmarks.figures import Figure
from benchmarks.history import HISTORY, Run, accept, lines_of, read_history
from benchmarks.machine import machine

HERE = {"date": "2026-11-26 12:00", "processor": "one", "cores": 2, "card": None}
FASTER, SLOWER = Figure("engine", "greedy", 9.0), Figure("pool", "item", 50.0, "us", "lower")


def table(*pairs: tuple[Figure, Figure | None], before: dict[str, object] = HERE) -> list[str]:
    known = [Run(before, tuple(old for _, old in pairs if old is not None))]
    return lines_of(Run(HERE, tuple(new for new, _ in pairs)), known)[1:]


@pytest.mark.parametrize(
    ("figure", "accepted", "said"),
    [
        (FASTER, 9.5, ""),  # within what runs differ by
        (FASTER, 12.0, "-25% worse"),
        (FASTER, 6.0, "+50% better"),
        (SLOWER, 40.0, "+25% worse"),
        (SLOWER, 100.0, "-50% better"),
    ],
)
def test_a_change_is_told_with_its_direction(figure: Figure, accepted: float, said: str) -> None:
    (line,) = table((figure, Figure(figure.benchmark, figure.what, accepted, figure.unit, figure.better)))
    assert figure.name in line and "2026-11-26" in line
    assert line.endswith(said) and ("worse" in line or "better" in line) == bool(said)


def test_the_latest_accepted_figure_of_a_like_machine_counts() -> None:
    other = HERE | {"cores": 64}
    runs = [Run(machine, (Figure("engine", "greedy", value),)) for machine, value in
            ((HERE, 5.0), (HERE, 8.9), (other, 90.0))]  # fmt: skip
    assert "8.9" in lines_of(Run(HERE, (FASTER,)), runs)[1]
    assert "90" in (line := lines_of(Run({**HERE, "cores": 8}, (FASTER,)), runs)[1]) and "other machine" in line
    assert lines_of(Run(HERE, (SLOWER,)), runs)[1].endswith("new")


def test_accepted_runs_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    assert read_history(file) == []
    first, second = Run(HERE, (FASTER,)), Run(machine(), (FASTER, SLOWER))
    accept(first, file)
    accept(second, file)
    assert read_history(file) == [first, second]


def test_the_history_that_ships_can_be_read() -> None:
    runs = read_history()
    assert runs and all(run.figures and run.machine["date"] for run in runs), HISTORY
    names = {name for run in runs for name in (one.benchmark for one in run.figures)}
    assert names <= set(bench.SHORT), "every figure is one that `make bench` measures"


@pytest.mark.long
def test_every_short_benchmark_takes_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """ParsedError by the benchmark itself; nothing is measured."""

    def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
        raise ParsedError(original(parser))

    class ParsedError(Exception):
        pass

    original = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    for name, options in bench.SHORT.items():
        module = __import__(f"benchmarks.{name}", fromlist=["main"])
        entry = module if hasattr(module, "main") else __import__(f"benchmarks.{name}.__main__", fromlist=["main"])
        monkeypatch.setattr(sys, "argv", [name, *options, "--figures", "file"])
        with pytest.raises(ParsedError) as caught:
            entry.main()
        assert caught.value.args[0].figures == Path("file")


def test_one_benchmark_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], output: int) -> bool:
        if "benchmarks.engine" in command:
            return False
        figures.write(Path(command[-1]), [Figure(command[2].partition(".")[2], "something", 2.0)])
        return True

    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(history, "HISTORY", tmp_path / "none")
    out = tmp_path / "deep" / "bench.json"
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "engine", "encoding", "--out", str(out)])
    with pytest.raises(SystemExit, match="failed: engine"):
        bench.main()
    said = capsys.readouterr().out
    assert "encoding: something" in said and "engine ... failed" in said
    found = json.loads(out.read_text())
    assert [one["benchmark"] for one in found["figures"]] == ["encoding"] and found["machine"]["torch"]

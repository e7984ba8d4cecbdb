"""The reports of guided fuzzing, and how a finding is repeated. Needs no atheris: `make fuzz-guided` runs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.fuzz import guided

SAID = """
#6	INITED cov: 349 ft: 900 corp: 4/12Kb exec/s: 0 rss: 433Mb
#261	NEW    cov: 351 ft: 915 corp: 5/13Kb lim: 11226 exec/s: 13 rss: 433Mb L: 367/5613 MS: 1 Custom-
 === Uncaught Python exception: ===
KeyError: 'run'
Traceback (most recent call last):
stat::number_of_executed_units: 270
"""


def test_a_finding_says_where_it_is_and_how_it_is_repeated() -> None:
    first, where, again = guided.report("space", SAID, [Path("findings/crash-1")])
    assert first == "space: 270 inputs, 349 -> 351 edges, corpus of 5, findings: 1"
    assert where.split() == ["findings/crash-1:", "KeyError:", "'run'"]
    assert again.endswith("python -m tests.fuzz.guided space --repeat findings/crash-1")
    assert guided.report("space", "", []) == ["space: nothing executed, no finding"]


def test_a_file_is_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    for content, said in ((b"name: small", "loaded"), (b"name: [", "refused with a typed error")):
        file.write_bytes(content)
        assert guided.main(["space", "--repeat", str(file)]) == 0
        assert capsys.readouterr().out == f"{said}\n"


def test_without_atheris_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert guided.main(["npy"]) == 2
    assert capsys.readouterr().err.splitlines() == [guided.NO_ATHERIS]

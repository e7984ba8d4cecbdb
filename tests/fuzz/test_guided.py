"""What guided fuzzing calls accepts its seeds and survives mutations; its reports. All but one test need no atheris."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import guided
from tests.fuzz.mutations import mutated_file
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
SAID = """
#6	INITED cov: 349 ft: 900 corp: 4/12Kb exec/s: 0 rss: 433Mb
#261	NEW    cov: 351 ft: 915 corp: 5/13Kb lim: 11226 exec/s: 13 rss: 433Mb L: 367/5613 MS: 1 Custom-
 === Uncaught Python exception: ===
KeyError: 'run'
Traceback (most recent call last):
stat::number_of_executed_units: 270
"""


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_load_and_fifty_mutations_end_well(name: str, tmp_path: Path) -> None:
    assert "atheris" not in sys.modules
    target = TARGETS[name](tmp_path)
    random = Random(name)
    assert all(target.load(seed) is not None for seed in target.seeds)
    outcomes = [target.load(mutated_file(random.choice(target.seeds), random, target.alter)) for _ in range(50)]
    assert None in outcomes


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


@pytest.mark.slow
def test_a_search_of_two_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("atheris", reason="it has wheels for few machines")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.fspath(ROOT))
    assert guided.main(["npy", "--seconds", "2", "--corpus", "found"]) == 0
    said = (guided.FOLDER / "npy" / "log.txt").read_text(errors="replace")
    assert "inputs in" in guided.progress(said) and len(list(Path("found").iterdir())) >= 4

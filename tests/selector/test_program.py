"""A selector as one file for torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from selector.config import SelectorConfig
from selector.errors import CheckpointError, SettingsError
from selector.model import build_selector
from selector.program import write_program

WITHOUT_US = """
import sys, torch
sys.path[:] = [entry for entry in sys.path if not entry.endswith(sys.argv[3])]
run = torch.export.load(sys.argv[1]).module()
for query, cand, mask, picks in torch.load(sys.argv[2], weights_only=True):
    assert torch.equal(run(query, cand, mask), picks)
assert not [name for name in sys.modules if name.split(".")[0] in ("selector", "sweep")]
"""


def test_it_picks_the_same_with_torch_alone(tmp_path: Path) -> None:
    shots, model = 4, build_selector(SelectorConfig(10, 12, 2, 3, "gate", 0.1, 0.5), 0)
    write_program(model, tmp_path / "model.pt2", shots)
    cases = []
    for batch, pool in ((1, shots), (1, 64), (2, shots + 3), (300, 20)):
        query, cand = torch.randn(batch, 10), torch.randn(batch, pool, 10)
        mask = torch.rand(batch, pool) < 0.7
        mask[:, :shots] = True
        cases.append((query, cand, mask, model.select(query, cand, shots, mask)))
    torch.save(cases, tmp_path / "cases.pt")
    command = [sys.executable, "-P", "-c", WITHOUT_US, *(str(tmp_path / name) for name in ("model.pt2", "cases.pt"))]
    subprocess.run([*command, str(Path.cwd())], check=True, cwd=tmp_path, env={"PATH": ""})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.pt", "model.pt2"]


def test_what_picks_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_selector(SelectorConfig(10, 12, 0, 3, "static", 0.1, 0.5), 0)
    other = build_selector(SelectorConfig(10, 12, 0, 3, "static", 0.1, 0.5), 1)
    monkeypatch.setattr(model, "select", other.select)
    with pytest.raises(CheckpointError, match="picks other demonstrations"):
        write_program(model, tmp_path / "model.pt2", 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "shots"), [("model.pt", 2), ("model.pt2", 0)])
def test_refusals(tmp_path: Path, name: str, shots: int) -> None:
    model = build_selector(SelectorConfig(10, 12, 0, 3, "static", 0.1, 0.5), 0)
    with pytest.raises(SettingsError):
        write_program(model, tmp_path / name, shots)

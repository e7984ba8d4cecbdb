"""The GPU check, tried out on the CPU: every step, and the documentation that is made of the figures of a GPU alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu_check import embedding, epochs, equality, machine, memory, speed, training, trials
from benchmarks.gpu_check.groups import GROUPS, chosen
from benchmarks.gpu_check.record import Options, Result, append, header, read, run_step
from benchmarks.gpu_check.report import BEGIN, DOCS, END, main, replaced, section
from benchmarks.gpu_check.wheels import CARRIED, ROOT

MODULES = (machine, training, epochs, trials, equality, speed, memory, embedding)
STEPS = {name: step for module in MODULES for name, step in module.STEPS.items()}
CPU = Options(torch.device("cpu"), tiny=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Result]:
    """The line of a step, done once."""

    @cache
    def line_of(name: str) -> Result:
        file = tmp_path_factory.mktemp("steps") / name
        assert run_step(name, STEPS[name], CPU, file, time.time()), file.read_text()
        (line,) = read(file)
        return line

    return line_of


@pytest.mark.parametrize("name", STEPS)
def test_every_step_works_on_a_cpu_and_claims_no_card(name: str, done: Callable[[str], Result]) -> None:
    line = done(name)
    assert line["step"] == name and line["seconds"] >= 0
    assert line["result"].get("holds", True)
    assert not any(word in json.dumps(line) for word in ("peak_gb", "tf32", "cuda", "card_mb"))
    if name.startswith("memory"):
        assert "stand-in" in line["result"]["provoked_by"]


def test_all_steps_have_a_group_and_a_bound() -> None:
    listed = [(group.module, name) for group in GROUPS for name in group.seconds]
    assert listed == [(module.__name__.rpartition(".")[2], name) for module in MODULES for name in module.STEPS]
    with pytest.raises(ValueError, match="no step is called nonsense"):
        chosen(["machine", "nonsense"])
    assert [list(group.seconds) for group in chosen(["goldens", "engine"])] == [["goldens"], ["engine"]]


def test_the_header_of_a_cpu_names_no_card() -> None:
    found = header(CPU)
    assert found["device"] == "cpu" and found["size"] == "tiny"
    assert found["card"] is found["driver"] is found["cuda"] is None


def test_it_needs_neither_ray_nor_optuna_and_refuses_to_begin_without_a_card() -> None:
    names = ", ".join(module.__name__ for module in MODULES)
    code = "import sys; sys.modules['ray'] = sys.modules['optuna'] = sys.modules['pytest'] = None\n"
    code += f"import benchmarks.gpu_check.one_trial, {names}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu_check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no CUDA card" in done.stderr and not done.stdout


def test_carried_wheels_are_pinned() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert set(CARRIED) <= pinned


# The report ---------------------------------------------------------------------------------------------------------

CARD = {"device": "cuda", "size": "full", "card": "Some Card", "card_gb": 80.0, "driver": "1.2", "cuda": "13.0"}


@pytest.fixture(scope="module")
def lines(done: Callable[[str], Result]) -> list[Result]:
    """What a whole run would leave: figures of tiny steps under the header of a card."""
    found: list[Result] = [header(CPU) | CARD]
    found += [done(name) for name in STEPS if not name.startswith(("fp32", "bf16", "memory"))]
    row: dict[str, Any] = {"largest_logit_difference": 1e-5, "holds": True}
    row |= {"compared": {"greedy": 4, "beams_3": 5}, "different": {"greedy": 0, "beams_3": 2}}
    half = [{"model": "demo", "engine_error": 2e-3, "generate_error": 3e-3} | row]
    found.append({"step": "fp32_demo", "result": row | {"holds": False}})
    found.append({"step": "fp32_random", "result": {"holds": True, "rows": [{"kv_heads": 2} | row]}})
    found.append({"step": "bf16", "result": {"holds": True, "rows": half}})
    memory = {"halvings": 3, "unanswered": 0, "prompts": 40, "different": 1}
    return [*found, {"step": "memory_fp32", "result": memory}, {"step": "memory_bf16", "error": "E: two\nlines"}]


def test_the_section_names_card_date_and_figures(lines: list[Result]) -> None:
    text = section(lines)
    assert "Some Card (80.0 GB, driver 1.2)" in text and lines[0]["date"] in text and torch.__version__ in text
    for wanted in ("2 of 5", "TFLOP/s", "| the engine |", "share of the bound", "goldens of the CPU", "images/s"):
        assert wanted in text
    assert "- `memory_bf16` has no result: E: two\n" in text + "\n"
    assert "- `fp32_demo` found what should not be" in text
    assert all(len(row.split("|")) > 2 for row in text.splitlines() if row.startswith("|"))


def test_a_cut_off_run_is_reported_as_such(lines: list[Result]) -> None:
    text = section(lines[:2])
    assert "products of" in text
    assert text.count("has no result: not reached") == 15


def test_figures_of_a_cpu_or_of_the_trial_size_are_refused(lines: list[Result], tmp_path: Path) -> None:
    docs = tmp_path / "page.md"
    docs.write_text(f"before\n{BEGIN}\n\nNever run.\n\n{END}\nafter\n")
    for changed, reason in (({"device": "cpu", "card": None}, "no figures of a GPU"), ({"size": "tiny"}, "trying out")):
        with pytest.raises(ValueError, match=reason):
            section([lines[0] | changed, *lines[1:]])
    file = tmp_path / "lines"
    append(file, header(CPU))
    assert main([str(file), "--docs", str(docs)]) == 2
    assert "Never run." in docs.read_text()
    file.unlink()
    for line in lines:
        append(file, line)
    for _ in range(2):  # the second time it replaces its own text
        assert main([str(file), "--docs", str(docs)]) == 0
        page = docs.read_text()
        assert page.startswith("before\n") and page.endswith(f"{END}\nafter\n") and page.count("Some Card") == 1
        assert "Never run" not in page


def test_the_documentation_has_its_place() -> None:
    page = DOCS.read_text(encoding="utf-8")
    assert replaced(page, "text") != page
    with pytest.raises(ValueError, match="needs one line"):
        replaced("a page without it", "text")

"""`sweep report`: where it is written, in which form, and that the seal holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweep.report.page.write import write_report
from sweep.runs.paths import RunPaths
from tests.sweep.commands import Command
from tests.sweep.plans import plan_of_run
from tests.sweep.trees import tree


def test_the_page_lies_in_the_run_and_the_seal_holds(copy: Path, command: Command) -> None:
    """As the end of a run writes it, and again by the command. Nothing else of the run changes."""
    before = tree(copy)
    paths = RunPaths.at(copy)
    assert write_report(paths, plan_of_run(paths)) == f"report: {copy}/report.html"
    first = (copy / "report.html").read_text()
    code, printed, _ = command("report", str(copy))
    assert code == 0 and printed.splitlines()[-1] == f"-> {copy}/report.html"
    assert "data:image/png;base64," in first and len(first) < 5_000_000
    assert dict(tree(copy).items() ^ before.items()).keys() <= {".", "report.html"}
    assert command("verify", str(copy), "--quick")[0] == 0


def test_other_forms_go_to_the_screen_or_a_file(copy: Path, tmp_path: Path, command: Command) -> None:
    code, printed, _ = command("report", str(copy), "--json", "--out", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert code == 0 and found["format"] == "sweep-report/1" and found["headline"] in printed
    code, printed, _ = command("report", str(copy), "--markdown")
    assert code == 0 and printed.startswith("# Sweep mine\n")
    assert not (copy / "report.html").exists()


def test_moved_data_is_said_and_the_rest_is_there(copy: Path, command: Command) -> None:
    for file in (copy.parent / "_shared" / "data").rglob("*.parquet"):
        file.unlink()
    code, printed, _ = command("report", str(copy), "--markdown")
    assert code == 0 and "The data cannot be described" in printed and "## Cost" in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--json", "--markdown"), "exclude each other"), (("--out", "s3://bucket/x.html"), "folder of this machine")],
)
def test_refusals(options: tuple[str, ...], said: str, copy: Path, command: Command) -> None:
    code, _, errors = command("report", str(copy), *options)
    assert code == 2 and said in errors

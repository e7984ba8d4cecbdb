"""The distribution `demonstration-selector`: built, installed where only torch is, and used as its README shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from selector.config import SelectorConfig
from selector.model import build_selector

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, time
sys.path[:0] = sys.argv[1:3]
sys.path[:] = [entry for entry in sys.path if "site-packages" not in entry]
import torch
start = time.perf_counter()
import selector
from selector import PointerSelector
seconds, place = time.perf_counter() - start, selector.__file__
exec(open(sys.argv[3]).read())
foreign = {name.split(".")[0] for name in sys.modules} & {"ray", "transformers", "pydantic", "pyarrow", "sweep"}
print(place, seconds, *picks.shape, sorted(foreign), sep="|")
"""


def project(file: Path) -> dict[str, object]:
    found: dict[str, object] = tomllib.loads(file.read_text())["project"]
    return found


def test_it_is_of_the_whole_project() -> None:
    whole, alone = project(ROOT / "pyproject.toml"), project(ROOT / "selector" / "pyproject.toml")
    for name in ("version", "license", "requires-python"):
        assert whole[name] == alone[name]
    needed, optional = alone["dependencies"], alone["optional-dependencies"]
    assert isinstance(needed, list) and isinstance(optional, dict) and isinstance(whole["dependencies"], list)
    assert [re.match(r"\w+", one)[0] for one in needed] == ["torch"]  # type: ignore[index]
    assert {*needed, *optional["hub"]} <= set(whole["dependencies"])
    assert (ROOT / "selector" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def torch_alone(folder: Path) -> Path:
    """A folder of links to torch and what its distribution asks for, and nothing else."""
    wanted, seen = ["torch"], set()
    folder.mkdir()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system
            continue
        asked = [one for one in found.requires or [] if "extra ==" not in one]
        wanted += [match[0] for one in asked if (match := re.match(r"[\w.-]+", one))]
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            source = Path(str(found.locate_file(top)))
            if source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)
    return folder


@pytest.mark.slow
def test_installed_beside_torch_alone_the_lines_of_the_readme_run(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "selector", tmp_path / "selector", ignore=shutil.ignore_patterns("__pycache__", "build"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(tmp_path / "wheel")]
    subprocess.run([*build, str(tmp_path / "selector")], check=True, timeout=120)
    (wheel,) = (tmp_path / "wheel").iterdir()
    assert wheel.name.startswith("demonstration_selector-") and wheel.stat().st_size < 200_000
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(tmp_path / "site")]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    build_selector(SelectorConfig(768, 16, 1, 1, "gate", 0.1, 0.1), 0).save_pretrained(tmp_path / "FOLDER")
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "selector" / "README.md").read_text(), re.DOTALL)
    (tmp_path / "lines.py").write_text(lines)
    line = [sys.executable, "-I", "-S", "-c", PROGRAM, str(tmp_path / "site"), str(torch_alone(tmp_path / "torch"))]
    ran = subprocess.run([*line, "lines.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    place, seconds, *shape, foreign = ran.stdout.strip().split("|")
    assert Path(place).is_relative_to(tmp_path / "site") and shape == ["8", "4"] and json.loads(foreign) == []
    assert float(seconds) < 1.0, "beside torch's own import"

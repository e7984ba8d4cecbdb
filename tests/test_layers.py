"""Who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH_ALONE = {"selector/__init__.py", "selector/model.py", "selector/tensors.py", "selector/errors.py"}


def imports_of(file: Path) -> set[str]:
    """Full names of all modules that a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(node.module or "")
    return found


def sources(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return files


def offenders(files: list[Path], forbidden: set[str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in sorted(imports_of(file))
        if any(name == module or name.startswith(module + ".") for module in forbidden)
    ]


def test_selector_knows_neither_ray_nor_optuna_nor_sweep() -> None:
    assert not offenders(sources("selector"), {"ray", "optuna", "sweep"})


def test_what_an_exported_selector_needs_is_torch_alone() -> None:
    files = [ROOT / name for name in TORCH_ALONE]
    allowed = {"torch", "selector.model", "selector.tensors", "selector.errors", "__future__"} | set(
        sys.stdlib_module_names
    )
    for file in files:
        strangers = {
            name
            for name in imports_of(file)
            if name not in allowed and name.split(".")[0] not in {"torch"} | set(sys.stdlib_module_names)
        }
        assert not strangers, f"{file.name}: {strangers}"


def test_only_tune_and_the_pool_import_ray() -> None:
    outside = [file for file in sources("sweep") if not {"tune", "pool"} & set(file.relative_to(ROOT / "sweep").parts)]
    assert not offenders(outside, {"ray"})


def test_the_engine_knows_neither_ray_nor_runs() -> None:
    forbidden = {
        "ray",
        "optuna",
        "sweep.execution.ray",
        "sweep.vlm.pool",
        "sweep.study",
        "sweep.space",
        "sweep.driver.run",
    }
    for package in ("vlm", "vqa", "items", "evaluation", "collect"):
        assert not offenders(sources(f"sweep/{package}"), forbidden)


def test_remote_folders_know_no_runs() -> None:
    ours = {name for file in sources("sweep/remote") for name in imports_of(file) if name.split(".")[0] == "sweep"}
    assert not [name for name in ours if not name.startswith("sweep.storage") and name != "sweep.errors"]


def test_the_metric_needs_nothing_but_python() -> None:
    allowed = set(sys.stdlib_module_names) | {"sweep"}
    assert not [name for file in sources("sweep/vqa") for name in imports_of(file) if name.split(".")[0] not in allowed]


def test_only_study_and_space_import_optuna() -> None:
    outside = [
        file for file in sources("sweep") if not {"study", "space"} & set(file.relative_to(ROOT / "sweep").parts)
    ]
    assert not offenders(outside, {"optuna"})


def test_space_and_study_do_not_know_who_uses_them() -> None:
    users = {
        "sweep.execution.ray",
        "sweep.driver.run",
        "sweep.execution.coordinator",
        "sweep.cli.app",
        "sweep.trials.trial",
        "sweep.results.ranking",
        "sweep.results.export",
        "sweep.driver.evaluation",
        "sweep.driver.collection",
    }
    assert not offenders([*sources("sweep/space"), *sources("sweep/study")], users)


def test_a_folder_is_looked_at_without_ray_and_without_transformers() -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "import sweep.cli.app, sweep.results.export, sweep.results.ranking, sweep.report.terminal\n"
        "assert 'transformers' not in sys.modules\n"
        "import sweep.driver.run"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_checker_sees_what_it_should(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def late():\n    from ray.tune import Tuner\n")
    assert imports_of(file) == {"ray.tune"}

"""Who may import whom: floors, circles, and what start-up must not load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "sweep.cli": 11,
    "sweep.api": 11,
    "sweep.submission": 10,
    "sweep.driver": 9,
    "sweep.report": 9,
    "sweep.execution": 8,
    "sweep.results": 8,
    "sweep.plan": 7,
    "sweep.trials": 6,
    "sweep.evaluation": 6,
    "sweep.collect": 6,
    "sweep.embed": 6,
    "sweep.demo": 6,
    "sweep.study": 5,
    "sweep.vlm": 5,
    "sweep.space": 4,
    "sweep.items": 4,
    "sweep.runs": 4,
    "sweep.terminal": 4,
    "sweep.settings": 3,
    "sweep.storage": 3,
    "sweep.errors": 2,
    "sweep.vqa": 1,
    "selector": 1,
}
"""A package imports from lower floors only. On one floor nobody knows the neighbours."""
LOOSE = {"sweep", "sweep.__main__", "sweep.errors"}
TORCH_ALONE = {
    "selector/__init__.py",
    "selector/attention.py",
    "selector/config.py",
    "selector/model.py",
    "selector/tensors.py",
    "selector/unit.py",
    "selector/errors.py",
    "selector/files.py",
}
LATE = {"ray", "scipy", "torch", "transformers", "wandb", "mlflow", "huggingface_hub"}
"""What takes seconds to load, or need not be installed, and may therefore be imported inside a function."""
LATE_MODULES = {"sweep.study.cmaes", "selector.hub", "sweep.cli.driving", "sweep.trials.given"}
"""Modules of our own that bring such a thing: cmaes loads scipy.stats, a fifth of a driver's start, and few need it.
The hub's library takes a second. `driving` brings all that a driver needs, while Ray starts; `given` brings torch."""


class Import(NamedTuple):
    """One imported module, and whether the statement stands inside a function."""

    module: str
    late: bool


def imports_of(file: Path, modules: frozenset[str] = frozenset()) -> list[Import]:
    """All imports of a file, at any depth of its code; `from package import module` counts as the module."""
    return list(_imports(ast.parse(file.read_text(encoding="utf-8")), modules, file, late=False))


def _imports(node: ast.AST, modules: frozenset[str], file: Path, *, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{file}: relative import"
            package = child.module or ""
            for alias in child.names:
                full = f"{package}.{alias.name}"
                yield Import(full if full in modules else package, late)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, modules, file, late=late or inside)


def sources(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return files


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def graph() -> dict[str, set[str]]:
    """What each of our modules imports of ours."""
    files = {name_of(file): file for package in ("selector", "sweep") for file in sources(package)}
    known = frozenset(files)
    return {
        name: {one.module for one in imports_of(file, known) if one.module in known} - {name}
        for name, file in files.items()
    }


def package_of(module: str) -> str:
    """The package on whose floor a module stands: `selector`, or the one below `sweep`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "sweep" else parts[0]


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The nodes on circles and those that lead to them; nothing where there is no circle."""
    left = dict(arrows)
    while left:
        ends = [node for node, targets in left.items() if not targets & set(left)]
        if not ends:
            return sorted(left)
        for node in ends:
            del left[node]
    return []


def offenders(files: list[Path], forbidden: set[str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in sorted({one.module for one in imports_of(file)})
        if any(name == module or name.startswith(module + ".") for module in forbidden)
    ]


def test_no_circle_between_files() -> None:
    assert circle(graph()) == []


def test_packages_import_from_lower_floors_only() -> None:
    upwards = [
        f"{module} imports {target}"
        for module, targets in graph().items()
        for target in targets
        if package_of(module) not in LOOSE
        and package_of(module) != package_of(target)
        and FLOORS[package_of(target)] >= FLOORS[package_of(module)]
    ]
    assert upwards == []


def test_every_package_has_a_floor_and_nothing_is_loose() -> None:
    packages = {package_of(module) for module in graph()}
    assert packages - set(FLOORS) == LOOSE - {"sweep.errors"}
    assert {name_of(file) for file in (ROOT / "sweep").glob("*.py")} == LOOSE


@pytest.mark.parametrize("package", [name for name in FLOORS if (ROOT / name.replace(".", "/")).is_dir()])
def test_every_package_says_what_it_is(package: str) -> None:
    """Its docstring is what a newcomer reads first: a sentence at least."""
    text = ast.get_docstring(ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())) or ""
    assert len(text.split()) >= 5 and text.rstrip().endswith((".", "`"))


def test_no_import_inside_a_function() -> None:
    late = [
        f"{file.relative_to(ROOT)} imports {one.module}"
        for package in ("selector", "sweep")
        for file in sources(package)
        for one in imports_of(file)
        if one.late and one.module.split(".")[0] not in LATE and one.module not in LATE_MODULES
    ]
    assert late == []


def test_selector_knows_neither_ray_nor_optuna_nor_sweep() -> None:
    assert not offenders(sources("selector"), {"ray", "optuna", "sweep"})


def test_what_an_exported_selector_needs_is_torch_alone() -> None:
    allowed = {"torch", "selector"} | set(sys.stdlib_module_names)
    ours = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in TORCH_ALONE}
    for name in TORCH_ALONE:
        for one in imports_of(ROOT / name):
            assert one.module.split(".")[0] in allowed, f"{name}: {one.module}"
            assert not one.module.startswith("selector") or one.module in ours, f"{name}: {one.module}"


def test_only_the_ray_adapters_and_the_pool_import_ray() -> None:
    homes = (ROOT / "sweep/execution/ray", ROOT / "sweep/vlm/pool")
    outside = [file for file in sources("sweep") if not any(file.is_relative_to(home) for home in homes)]
    assert not offenders(outside, {"ray"})


def test_only_study_and_space_import_optuna() -> None:
    homes = (ROOT / "sweep/study", ROOT / "sweep/space")
    assert not offenders(
        [file for file in sources("sweep") if not any(file.is_relative_to(home) for home in homes)], {"optuna"}
    )


def test_the_metric_needs_nothing_but_python() -> None:
    allowed = set(sys.stdlib_module_names) | {"sweep"}
    assert not [
        one.module
        for file in sources("sweep/vqa")
        for one in imports_of(file)
        if one.module.split(".")[0] not in allowed
    ]


NOT_LOADED = {
    "commands": [
        ("sweep.cli.app", "torch pyarrow pydantic scipy ray transformers optuna plotly"),
        ("sweep.cli.listing", "torch scipy ray transformers optuna plotly"),
        ("sweep.cli.runs", "torch scipy ray transformers plotly sqlalchemy tokenizers boto3"),
        ("sweep.cli.status", "torch scipy ray transformers plotly"),
        ("sweep.cli.driving", "ray transformers plotly cmaes scipy boto3"),
        ("sweep.cli.watch", "ray transformers plotly"),
        ("sweep.cli.results sweep.report.terminal sweep.results.export", "ray transformers"),
        ("sweep.cli.spaces sweep.plan.make", "ray transformers"),
    ],
    "a trial's worker": [
        ("sweep.execution.ray.trainable", "ray transformers optuna sqlalchemy pandas scipy tokenizers plotly boto3"),
    ],
    "model and demo": [
        ("sweep.vlm.service sweep.vlm.engine.engine sweep.vlm.pool.pool", "ray transformers optuna"),
        ("sweep.demo.store sweep.demo.training.train sweep.demo.training.measure", "ray transformers optuna"),
    ],
}
"""Modules, and what importing them must not bring. The steps of a row follow each other in one process."""


@pytest.mark.parametrize("steps", NOT_LOADED.values(), ids=NOT_LOADED)
def test_what_is_not_loaded_without_need(steps: list[tuple[str, str]]) -> None:
    """Ray reads its environment as it is imported, so that a driver decides first; all of it takes seconds."""
    code = "import sys\nbarred = set()\n"
    for modules, absent in steps:
        code += (
            f"wanted = set({absent.split()})\n"
            "for name in barred - wanted: del sys.modules[name]\n"
            "barred = wanted\n"
            "for name in barred:\n"
            "    assert sys.modules.get(name) is None, name\n"
            "    sys.modules[name] = None\n"
        )
        code += "".join(f"import {module}\n" for module in modules.split())
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


def test_the_checker_sees_what_it_should(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("import os\ndef late():\n    from ray.tune import Tuner\n")
    assert imports_of(file) == [Import("os", late=False), Import("ray.tune", late=True)]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert circle({"a": {"b"}, "b": set()}) == []


def test_no_validated_model_is_copied_unchecked() -> None:
    """`model_copy(update=...)` checks nothing; `FrozenModel.replace` does."""
    unchecked = re.compile(r"\.model_copy\(|\.model_construct\(")
    assert not [
        file for package in ("selector", "sweep") for file in sources(package) if unchecked.search(file.read_text())
    ]


def test_one_door_to_the_terminal() -> None:
    """What a stranger wrote is made harmless in `sweep.terminal`; whoever prints by another way goes around that."""
    around = re.compile(r"sys\.std(out|err)\b|(?<![.\w])print\(|typer\.echo\(|(?<!\w)Console\(")
    assert around.search("sys.stderr.write(x)") and around.search("print(x)") and around.search("Console()")
    assert not [
        file.relative_to(ROOT)
        for file in sources("sweep")
        if not file.is_relative_to(ROOT / "sweep/terminal")
        and not file.is_relative_to(ROOT / "sweep/demo/training")  # a developer's tool, on our own data
        and around.search(file.read_text(encoding="utf-8"))
    ]

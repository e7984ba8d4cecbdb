"""What an image is made of, without a container engine: its pip command on the files that it copies, and its entry
command in the environment that results, from an empty folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from tests.docker.images import ENTRYPOINT, ROOT, command, copies

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# What a fresh environment brings along, and what torch itself pins to one version in its builds for CUDA.
NOT_OURS_TO_PIN = re.compile(r"pip|setuptools|nvidia-.*|cuda-.*|triton")
LIST = """
import json, re
from importlib import metadata
names = {re.sub(r"[-_.]+", "-", d.name).lower(): d.version for d in metadata.distributions()}
print(json.dumps(names))
"""


def call(line: list[str], folder: Path, environment: dict[str, str]) -> str:
    result = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"{line}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout


@pytest.fixture(scope="module", params=["ours", pytest.param("fresh", marks=pytest.mark.long)])
def environment(tmp_path_factory, request):
    """A virtual environment made as the builder stage makes it; its variables.

    In short, the packages that the project needs are those of this environment (itself made from the constraints), and
    pip installs the project alone.
    """
    folder = tmp_path_factory.mktemp("image")
    context = folder / "build"
    for sources, target in copies():
        if target != "/usr/local/bin/entrypoint":
            for source in sources:
                _copy(ROOT / source, context / target)
    venv = folder / "venv"
    call([sys.executable, "-m", "venv", str(venv)], folder, dict(os.environ))
    # The machine's own pip settings stay: they say where packages come from here, as a builder's would there.
    leave_out = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_CONSTRAINT")
    variables = {name: value for name, value in os.environ.items() if name not in leave_out}
    variables |= {"PATH": f"{venv / 'bin'}:/usr/bin:/bin", "TORCH_INDEX_URL": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    install = command("pip install")
    if request.param == "ours":
        call(["sh", "-c", f"{install} --no-deps"], context, variables)
        (Path(_packages(variables, folder)) / "ours.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    else:
        call(["sh", "-c", install], context, variables)
    yield {"PATH": variables["PATH"], "HOME": str(folder), "RAY_AUTH_MODE": "token"}
    shutil.rmtree(folder)


def _packages(variables: dict[str, str], folder: Path) -> str:
    return call(["python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder, variables).strip()


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"), dirs_exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / source.name)


def test_project_is_installed_not_linked(environment, tmp_path):
    where = call(
        ["python", "-c", "import sweep, selector, search_spaces; print(sweep.__file__)"], tmp_path, environment
    )
    assert Path(where.strip()).is_relative_to(Path(environment["HOME"]) / "venv")


@pytest.mark.parametrize("environment", [pytest.param("fresh", marks=pytest.mark.long)], indirect=True)
def test_every_package_is_the_pinned_one(environment, tmp_path):
    installed = json.loads(call(["python", "-c", LIST], tmp_path, environment))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert installed.pop(project["name"]) == project["version"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    ours = {name: version for name, version in installed.items() if not NOT_OURS_TO_PIN.fullmatch(name)}
    assert "torch" in ours
    assert "pytest" not in ours  # the dev extra has no business in an image
    assert {name: version.split("+")[0] for name, version in ours.items()} == {
        name: pinned.get(name, "not in constraints.txt") for name in ours
    }


@pytest.mark.long  # with the packages of this environment it is `validate` as elsewhere
def test_entry_command_validates_the_shipped_space(environment, tmp_path):
    printed = call([str(ENTRYPOINT), "validate", "spaces/grpo.yaml"], tmp_path, environment)
    assert printed.split()[-1] == "valid"
    assert "grpo.kl_beta" in printed
    assert list(tmp_path.iterdir()) == []


def test_entry_command_shows_help(environment, tmp_path):
    printed = call([str(ENTRYPOINT), "--help"], tmp_path, environment)
    assert "Usage: " in printed
    for name in ("run", "resume", "validate", "status", "export"):
        assert re.search(rf"\b{name}\b", printed)


def test_entry_command_ends_with_the_codes_of_the_sweep(environment, tmp_path):
    line = [str(ENTRYPOINT), "validate", "nothing.yaml"]
    result = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_each_variant_checks_which_torch_it_got(environment, tmp_path):
    cuda = call(["python", "-c", "import torch; print(torch.version.cuda)"], tmp_path, environment).strip() != "None"

    def accepted(variant: str, index: str) -> bool:
        variables = environment | {"VARIANT": variant, "TORCH_INDEX_URL": index}
        check = ["sh", "-c", command("torch.version.cuda")]
        return subprocess.run(check, cwd=tmp_path, env=variables, timeout=60).returncode == 0

    assert accepted("cpu", "")
    assert accepted("cpu", "an index") is not cuda
    assert accepted("gpu", "") is cuda
    assert accepted("gpu", "an index") is cuda

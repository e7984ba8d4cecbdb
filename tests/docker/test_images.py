"""The Dockerfile: linted, and made of files that exist."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from tests.docker.images import DOCKERFILE, ENTRYPOINT, ROOT, command, copies, instructions, program, texts


def hadolint(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    # No rule is switched off: not by a comment, nor by the settings of the repository or the user.
    settings = folder / "hadolint.yaml"
    settings.write_text("ignored: []\n", encoding="utf-8")
    options = ["--no-color", "--disable-ignore-pragma", "--config", str(settings), "-t", "style"]
    return subprocess.run([program("hadolint"), *options, str(file)], capture_output=True, text=True, timeout=60)


def test_linter_has_nothing_to_say(tmp_path):
    result = hadolint(DOCKERFILE, tmp_path)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_linter_would_speak_up(tmp_path):
    planted = tmp_path / "Dockerfile"
    text = DOCKERFILE.read_text(encoding="utf-8").replace("${PYTHON_IMAGE}", "python:latest")
    planted.write_text(text, encoding="utf-8")
    result = hadolint(planted, tmp_path)
    assert result.returncode != 0
    assert "DL3007" in result.stdout


def test_base_image_is_pinned_to_slim_python_that_the_project_supports():
    bases = texts("FROM")
    assert [base.split()[0] for base in bases] == ["${PYTHON_IMAGE}"] * 2
    image = texts("ARG")[0]
    version = re.fullmatch(r"PYTHON_IMAGE=python:(3\.\d+)-slim-\w+", image)
    assert version, image
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={version[1]}"


def test_what_is_copied_exists_and_passes_the_dockerignore():
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [rule for rule in rules if rule and not rule.startswith("#")]
    assert patterns[0] == "*"  # only what is named after it reaches the builder
    sources = [source for found, _ in copies() for source in found]
    assert "constraints.txt" in sources
    for source in sources:
        assert (ROOT / source).exists(), f"the Dockerfile copies {source}, which is not there"
        assert f"!{source}" in patterns
    assert {rule[1:] for rule in patterns if rule.startswith("!")} == set(sources)


def test_packages_of_the_project_are_all_copied():
    targets = {source: target for found, target in copies() for source in found}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        package = pattern.removesuffix("*")
        assert targets[package] == f"{package}/"  # COPY copies what is in a folder, not the folder
    assert project["project"]["readme"] in targets
    assert set(project["project"]["license-files"]) <= set(targets)


def test_installs_with_the_constraints_and_not_editable():
    install = command("pip install")
    assert install.startswith("pip install . -c constraints.txt")
    assert "-e" not in install.split()
    assert 'TORCH_INDEX_URL=""' in texts("ARG")


def test_runtime_is_not_root_and_says_how_it_is():
    assert texts("USER") == ["10001:10001"]
    after_user = [found.keyword for found in instructions()]
    after_user = after_user[after_user.index("USER") + 1 :]
    assert after_user == ["WORKDIR", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"]
    assert texts("HEALTHCHECK")[0].endswith('CMD ["entrypoint", "health"]')
    assert texts("ENTRYPOINT") == ['["entrypoint"]']
    assert ([ENTRYPOINT.relative_to(ROOT).as_posix()], "/usr/local/bin/entrypoint") in copies()
    assert texts("VOLUME") == []
    assert "RAY_AUTH_MODE=token" in texts("ENV")[-1].split()


def test_labels_say_what_the_project_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    label = texts("LABEL")[0]
    assert f'org.opencontainers.image.version="{project["version"]}"' in label
    assert f'org.opencontainers.image.licenses="{project["license"]}"' in label


def test_variants_are_one_recipe_that_is_told_which():
    """Only two checks and the label know the variant, so that nothing else can differ."""
    assert [text for text in texts("ARG") if text.startswith("VARIANT")] == ["VARIANT=cpu", "VARIANT", "VARIANT"]
    naming = [found.keyword for found in instructions() if "${VARIANT}" in found.text]
    assert naming == ["RUN", "RUN", "LABEL"]
    check = command("= cpu")
    for variant, accepted in {"cpu": True, "gpu": True, "": False, "cuda": False}.items():
        result = subprocess.run(["sh", "-c", check], env={"PATH": "/usr/bin:/bin", "VARIANT": variant}, timeout=10)
        assert (result.returncode == 0) is accepted, variant


def test_login_shells_find_the_environment(tmp_path):
    """KubeRay and `ray up` start Ray from login shells, for which /etc/profile sets PATH anew."""
    written = command("profile.d").split("&& echo ")[1].replace("/etc/profile.d/sweep.sh", str(tmp_path / "sweep.sh"))
    subprocess.run(["sh", "-c", f"echo {written}"], check=True, timeout=10)
    script = f'PATH=/usr/bin:/bin; . {tmp_path / "sweep.sh"}; printf %s "$PATH"'
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=10).stdout
    assert found == "/opt/sweep/bin:/usr/bin:/bin"
    assert texts("ENV")[-1].startswith("PATH=/opt/sweep/bin:$PATH ")

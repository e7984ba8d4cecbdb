"""What a job runs in, as Ray's runtime environment has it."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from sweep.errors import RunError
from sweep.submission.surroundings import surroundings


def test_a_stopped_job_has_time_for_its_epochs() -> None:
    assert surroundings((), None, (), "python").runtime(None) == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "600"}}
    own = surroundings((), None, ["RAY_JOB_STOP_WAIT_TIME_S=9"], "python").runtime(None)
    assert own["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "9"}


def test_the_versions_of_this_machine_without_ray() -> None:
    pip = surroundings(["same"], None, (), "python").pip
    assert f"optuna=={metadata.version('optuna')}" in pip
    names = {line.partition("==")[0].lower() for line in pip}
    assert {"pydantic", "transformers", "pyyaml"} <= names and not {"ray", "pytest", "wandb"} & names
    assert all("+" not in line for line in pip)  # torch 2.13.0+cpu is on no index


def test_requirements_of_a_file_and_of_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("# ours\noptuna==5.0.0  # the study\n\n--index-url https://pypi.example/simple\n")
    pip = surroundings([str(file), "cmaes>=0.13"], None, (), "python").pip
    assert pip == ("optuna==5.0.0", "--index-url https://pypi.example/simple", "cmaes>=0.13")


@pytest.mark.parametrize("given", [{"pip": ["cmaes>=0.13"]}, {"image": "registry.example/sweep:1"}])
def test_ray_takes_it(given: dict[str, object]) -> None:
    from ray.runtime_env import RuntimeEnv

    options = {"pip": (), "image": None, "variables": ["AWS_ENDPOINT_URL=http://s:9000"], "python": "python", **given}
    runtime = surroundings(**options).runtime(None)  # type: ignore[arg-type]
    kept = RuntimeEnv(**runtime).to_dict()  # as a job gives it back, for the next one
    assert RuntimeEnv(**kept)["env_vars"]["AWS_ENDPOINT_URL"] == "http://s:9000"


@pytest.mark.parametrize(
    ("pip", "image", "variable", "reason"),
    [
        (["a"], "b", None, "exclude each other"),
        (["-missing.txt"], None, None, "cannot be read"),
        ([], None, "HF_TOKEN=hf_abc", "everybody who sees the cluster's jobs"),
        ([], None, "AWS_SECRET_ACCESS_KEY=x", "everybody who sees"),
        ([], None, "novalue", "expected NAME=VALUE"),
        ([], None, "a b=c", "expected NAME=VALUE"),
    ],
)
def test_refused(pip: list[str], image: str | None, variable: str | None, reason: str) -> None:
    with pytest.raises(RunError, match=reason) as refused:
        surroundings(pip, image, [] if variable is None else [variable], "python")
    assert "hf_abc" not in str(refused.value)


def test_a_requirements_file_that_names_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("-r other.txt\n")
    with pytest.raises(RunError, match=r"'-r other\.txt' names another file, which does not travel"):
        surroundings([str(tmp_path / "mine.txt")], None, (), "python")

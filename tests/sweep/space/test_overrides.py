"""`--set`: which paths there are, what a value may be, what a run keeps of it."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from sweep.driver.create import NewRun, create_run
from sweep.driver.session import open_session
from sweep.errors import SpaceError
from sweep.execution.ray.options import RayOptions
from sweep.plan.make import make_plan
from sweep.plan.requests import request_of_run, request_of_space
from sweep.report.plan import describe_plan
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.runs.record import read_record
from sweep.space import merged, parse_space
from sweep.storage.local import stored_at
from tests.sweep.plans import screen_on
from tests.sweep.spaces import SMALL


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("budget.trials=8", ["budget", "trials"], 8),
        ("budget={hours: 2}", ["budget", "hours"], 2.0),
        ("description=a = b", ["description"], "a = b"),
        ("sampler=random", ["sampler", "type"], "random"),
        ("sampler.n_startup_trials=1", ["sampler", "n_startup_trials"], 1),
        ("trial.grpo.top_k.early_k=3", ["trial", "grpo", "top_k", "early_k"], 3),
        ("max_disk_gb=2", ["max_disk_gb"], 2.0),
        ("resources.gpus=0.5", ["resources", "gpus"], 0.5),
    ],
)
def test_a_value_counts_instead_of_the_files(text: str, path: list[str], value: object) -> None:
    found = parse_space(SMALL, "f.yaml", [text]).model_dump(mode="json")
    for key in path:
        found = found[key]
    assert found == value


def test_parameters_are_named_by_their_dotted_path() -> None:
    space = parse_space(SMALL, "f.yaml", ["parameters.grpo.lr.high=0.5", "parameters.model.layers=2"])
    assert space.parameters["grpo.lr"].bounds() == {"low": 1e-5, "high": 0.5}
    assert space.parameters["model.layers"].bounds() == {"value": 2}


def test_a_mapping_of_names_is_replaced_and_a_section_is_not() -> None:
    text = f"{SMALL}resources: {{cpus: 2, labels: {{pool: cpu}}}}\n"
    assert parse_space(text, "f.yaml", ["resources.labels={}"]).resources.labels == {}
    assert parse_space(text, "f.yaml", ["resources.labels={zone: a}"]).resources.labels == {"zone": "a"}
    assert parse_space(text, "f.yaml", ["resources={}"]).resources.labels == {"pool": "cpu"}


def test_the_last_assignment_of_a_path_wins() -> None:
    assert parse_space(SMALL, "f", ["budget.trials=8", "budget.trials=9"]).budget.trials == 9
    assert merged(["budget.trials=8", "seed=1"], ["budget={hours: 2}"]) == ("seed=1", "budget={hours: 2}")


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("budget.trials", ["write PATH=VALUE, such as --set budget.trials=8"]),
        ("=8", ["write PATH=VALUE"]),
        ("budget.trails=8", ["unknown path 'budget.trails'; the nearest valid key is 'budget.trials'"]),
        ("trial.grpo.learning_rate=1", ["the nearest valid key is 'trial.grpo.lr'"]),
        ("parameters.grpo.learning_rate=1", ["the nearest valid key is 'grpo.lr'"]),
        ("grpo.lr=1", ["--set trial.grpo.lr=1", "--set parameters.grpo.lr=1"]),
        ("budget.trials=[1", ["not valid YAML"]),
        ("budget.trials=many", ["--set budget.trials=many: budget.trials: should be a valid integer, got 'many'"]),
        ("budget.hours=1h", ["--set budget.hours=1h: budget.hours: ", "write 1"]),
        ("parameters.grpo.lr=loguniform(1e-5, 1e-3)", ["write `grpo.lr: {type: float, low: 1e-5, high: 0.001, log"]),
    ],
)
def test_what_is_refused_names_the_option(text: str, fragments: list[str]) -> None:
    with pytest.raises(SpaceError) as caught:
        parse_space(SMALL, "f.yaml", [text])
    assert str(caught.value).startswith("--set ") and "\n" not in str(caught.value)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_other_errors_keep_their_line() -> None:
    with pytest.raises(SpaceError) as caught:
        parse_space("name: x\nsede: 3\nbudget: {trials: 0}\n", "f.yaml", ["budget.trials=2"])
    assert str(caught.value).startswith("f.yaml:2: sede: ") and "budget" not in str(caught.value)


def test_a_run_keeps_what_was_set_and_later_commands_go_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    shared = SharedPaths.beside(stored_at(tmp_path / "runs"))
    plan = make_plan(request_of_space(str(tmp_path / "small.yaml"), shared, overrides=["budget.trials=3", "seed=4"]))
    assert ("set instead", "budget.trials=3, seed=4") in describe_plan(plan)
    paths = create_run(plan, NewRun(stored_at(tmp_path / "runs"), "mine"))
    assert paths.space_file.read_text() == SMALL, "the file stays as the user wrote it"
    record = read_record(paths)
    assert record.overrides == ("budget.trials=3", "seed=4")
    assert record.space["budget"]["trials"] == 3 and record.space["seed"] == 4
    assert request_of_run(paths).space == plan.space

    longer = request_of_run(paths, overrides=["budget.trials=5"])
    assert (longer.space.budget.trials, longer.space.seed) == (5, 4)
    with open_session(paths, RayOptions(), screen_on(io.StringIO())) as session:
        session.keep_overrides(longer.overrides)
    assert request_of_run(paths).space == longer.space


def test_an_evaluation_takes_its_own_sections_alone(good_run: RunPaths, tmp_path: Path) -> None:
    shutil.copytree(good_run.root.local(), tmp_path / "mine")
    paths = RunPaths.at(tmp_path / "mine")
    with pytest.raises(SpaceError, match=r"--set budget\.trials=9: an evaluation takes items, vlm, evaluation alone"):
        request_of_run(paths, answers_overrides=["budget.trials=9"])
    sections = ["items={demo: {}}", "vlm={model: {path: demo}}", "evaluation={samples: 7}"]
    request = request_of_run(paths, answers_overrides=sections)
    assert request.answers.evaluation is not None and request.answers.evaluation.samples == 7
    assert request.space.evaluation is None and request.overrides == ()


def test_a_password_is_not_repeated() -> None:
    url = "storage=postgresql://me:secret@host/d"
    with pytest.raises(SpaceError) as caught:
        parse_space("name: a b\nstorage: null\n", "f.yaml", [url, "storage=[1]"])
    assert "secret" not in str(caught.value) and "--set storage=..." in str(caught.value)

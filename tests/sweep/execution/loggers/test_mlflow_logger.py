"""What MLflow's own client reads of a run that was logged into a real store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sweep.api import load_run
from sweep.execution.loggers.follow import Ending, Followed, Loggers
from sweep.execution.loggers.mlflow_logger import MlflowLogger
from sweep.runs.paths import RunPaths
from sweep.settings.loggers import MlflowSettings
from sweep.study import TrialState
from tests.sweep.execution.loggers.replay import replay, results_of

if TYPE_CHECKING:  # it takes seconds to load, in every process that collects tests
    from mlflow import MlflowClient
    from mlflow.entities import Run

STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}


@pytest.fixture(scope="module")
def client(finished: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """The run, logged in two parts as after a resume."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    client.create_experiment("sweeps", artifact_location=folder.as_uri())
    run = Followed("mine", "0123", finished.shown, {"name": "world"}, None)
    lines: list[str] = []
    for ending in (Ending("interrupted"), Ending("finished", "a verdict", results_of(finished))):
        with Loggers([MlflowLogger(MlflowSettings(uri=uri, experiment="sweeps"))], lines.append) as loggers:
            replay(finished, loggers.follow(run))
            loggers.end(ending)
    assert lines == []
    return client


def runs(client: MlflowClient) -> dict[str, Run]:
    experiment = client.get_experiment_by_name("sweeps")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {one.info.run_name: one for one in found}


def test_there_is_one_run_for_the_sweep_and_one_below_it_per_trial(client: MlflowClient, finished: RunPaths) -> None:
    found, trials = runs(client), load_run(finished.shown).trials
    assert set(found) == {"mine", *(f"trial-{row.number:04d}" for row in trials)}
    for row in trials:
        one = found[f"trial-{row.number:04d}"]
        assert one.data.tags["mlflow.parentRunId"] == found["mine"].info.run_id
        assert one.info.status == STATUS[row.state] and one.data.tags["reason"] == row.reason
        assert {path: str(value) for path, value in row.params.items()} == one.data.params
    assert found["mine"].info.status == "FINISHED" and found["mine"].data.tags["verdict"] == "a verdict"


def test_the_curves_are_those_of_the_trials(client: MlflowClient, finished: RunPaths) -> None:
    found, run = runs(client), load_run(finished.shown)
    for number, rows in run.curves().groupby("trial"):
        identity = found[f"trial-{number:04d}"].info.run_id
        for name in ("val_loss", "kl", "parameter_change/query_proj"):
            column = rows.set_index("step")[name.replace("/", ".")].dropna()
            read = {one.step: one.value for one in client.get_metric_history(identity, name)}
            assert read == pytest.approx(column.to_dict()), (number, name)
    for row in run.trials:
        assert found[f"trial-{row.number:04d}"].data.metrics.get("best_val_loss") == pytest.approx(row.reached[0])


def test_the_final_tables_are_artifacts(client: MlflowClient, finished: RunPaths, tmp_path: Path) -> None:
    identity = runs(client)["mine"].info.run_id
    assert {one.path for one in client.list_artifacts(identity)} == {"ranking.json", "evaluation.json", "space.json"}
    read = Path(client.download_artifacts(identity, "ranking.json", str(tmp_path)))
    assert read.read_bytes() == finished.ranking_file.read_bytes()

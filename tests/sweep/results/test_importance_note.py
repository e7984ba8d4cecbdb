"""What the real optuna-dashboard serves of a finished run, asked in this process without a port."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sweep.api import load_run
from sweep.results.importance import importance_of_val_loss
from sweep.results.importance_note import importance_note
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.study.reading import read_trials
from sweep.study.summaries import TrialSummary

Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def dashboard(finished: RunPaths) -> Ask:
    from optuna.storages import RDBStorage
    from optuna_dashboard import wsgi

    app = wsgi(RDBStorage(read_record(finished).storage_url(finished)))

    def ask(path: str) -> Any:
        statuses: list[str] = []
        environment = {
            "REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "x", "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http", "wsgi.version": (1, 0),
        }  # fmt: skip
        body = b"".join(app(environment, lambda status, headers, *_: statuses.append(status)))
        assert statuses == ["200 OK"], (path, body)
        return json.loads(body)

    return ask


def test_its_page_has_the_metrics_name_and_our_importance(dashboard: Ask, finished: RunPaths) -> None:
    (found,) = dashboard("/api/studies")["study_summaries"]
    study = dashboard(f"/api/studies/{found['study_id']}")
    assert study["objective_names"] == ["val_loss"]
    run, record = load_run(finished.shown), read_record(finished)
    trials = read_trials(record.storage_url(finished), record.study)
    body = study["note"]["body"]
    assert body.startswith("Sweep `world`") and "The objective `val_loss` is the validation metric" in body
    assert body.endswith(importance_note(importance_of_val_loss(run.space, trials)))


def test_every_trial_has_its_note(dashboard: Ask, finished: RunPaths) -> None:
    (found,) = dashboard("/api/studies")["study_summaries"]
    notes = {one["number"]: one["note"]["body"] for one in dashboard(f"/api/studies/{found['study_id']}")["trials"]}
    rows: list[TrialSummary] = load_run(finished.shown).trials
    assert set(notes) == {row.number for row in rows}
    assert all(f"{row.reached[0]:.4f} at epoch {row.reached[1]}" in notes[row.number] for row in rows)

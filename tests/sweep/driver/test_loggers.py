"""Which services a space asks for, and what is said where that cannot be."""

from __future__ import annotations

import pytest

from sweep.cli.options import LogService, with_loggers
from sweep.driver import loggers
from sweep.driver.loggers import ending_of, open_loggers
from sweep.errors import RunError, SpaceError
from sweep.results.outcome import RunOutcome
from sweep.runs.paths import RunPaths
from sweep.settings.loggers import LoggersSettings, WandbSettings
from sweep.space import SearchSpace, parse_space
from tests.sweep.commands import Command
from tests.sweep.spaces import SMALL


def space(text: str = "", *overrides: str) -> SearchSpace:
    return parse_space(SMALL + text, "small.yaml", overrides)


def test_nobody_follows_unless_asked() -> None:
    assert space().loggers == LoggersSettings() and not open_loggers(space().loggers)._services


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_missing_package_is_said_with_what_brings_it(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    asked = space(f"loggers: {{{package}: {{}}}}\n").loggers
    with pytest.raises(RunError, match=rf"^loggers.{package} needs .* pip install 'demonstration-sweep\[{package}\]'$"):
        open_loggers(asked)


def test_the_flag_asks_for_defaults_and_leaves_what_the_space_says() -> None:
    flags = with_loggers(["budget.trials=2"], [LogService.WANDB, LogService.MLFLOW])
    assert flags == ("budget.trials=2", "loggers.wandb={}", "loggers.mlflow={}")
    assert space("", *flags).loggers.wandb == WandbSettings()
    own = space("loggers: {wandb: {project: mine, mode: offline}}\n", *flags)
    assert own.loggers.wandb == WandbSettings(project="mine", mode="offline") and own.loggers.mlflow is not None


def test_every_service_has_a_flag(command: Command) -> None:
    assert {one.value for one in LogService} == set(LoggersSettings.model_fields)
    code, _, error = command("run", "nowhere.yaml", "--log", "wandb", "--log", "mlflow")
    assert code == 2 and "nowhere.yaml" in error, "the flags are understood"
    code, _, error = command("run", "nowhere.yaml", "--log", "other")
    assert code == 2 and "wandb" in error and "mlflow" in error


def test_a_password_has_no_place_in_a_space() -> None:
    with pytest.raises(SpaceError, match="put it into MLFLOW_TRACKING_PASSWORD") as raised:
        space("loggers: {mlflow: {uri: 'http://me:secret@host:5000'}}\n")
    assert "secret" not in str(raised.value)


def test_the_results_go_along_with_the_end(finished: RunPaths) -> None:
    outcome = RunOutcome(finished, [], [], None, interrupted=False, ended_because="")
    ending = ending_of(outcome)
    assert ending.state == "failed", "no trial is complete"
    assert set(ending.files) == {"ranking.json", "declared-evaluation.json"}
    assert all(file.is_file() for file in ending.files.values())

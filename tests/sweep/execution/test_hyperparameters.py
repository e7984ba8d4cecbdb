"""TensorBoard's own readers on the events of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sweep.api import load_run
from sweep.runs.paths import RunPaths
from sweep.study import TrialState

if TYPE_CHECKING:  # it takes seconds to load, in every process that collects tests
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer


@pytest.fixture(scope="module")
def events(finished: RunPaths) -> EventMultiplexer:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    return EventMultiplexer().AddRunsFromDirectory(str(finished.tensorboard_folder.local())).Reload()


def test_runs_are_named_after_trials_and_finalists(finished: RunPaths, events: EventMultiplexer) -> None:
    trials = [f"trial-{row.number:04d}" for row in load_run(finished.shown).trials]
    again = [f"finalist-{folder.name}" for folder in finished.finalists_folder.glob("*")]
    assert again and sorted(events.Runs()) == sorted([*trials, *again])


def test_the_curves_are_those_of_the_trials(finished: RunPaths, events: EventMultiplexer) -> None:
    curves = load_run(finished.shown).curves()
    for number, rows in curves.groupby("trial"):
        read = {one.step: one.value for one in events.Scalars(f"trial-{number:04d}", "Validation/val_loss")}
        assert min(events.GetAccumulator(f"trial-{number:04d}").Tags()["scalars"]) == "Validation/val_loss", "on top"
        assert read == pytest.approx(dict(zip(rows["step"], rows["val_loss"], strict=True)))


def test_hparams_are_the_sampled_parameters_with_their_domain(finished: RunPaths, events: EventMultiplexer) -> None:
    from tensorboard.plugins.hparams import metadata

    run = load_run(finished.shown)
    for row in run.trials:
        name = f"trial-{row.number:04d}"
        tags = events.GetAccumulator(name).PluginTagToContent(metadata.PLUGIN_NAME)
        begins = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
        ends = metadata.parse_session_end_info_plugin_data(tags[metadata.SESSION_END_INFO_TAG])
        experiment = metadata.parse_experiment_plugin_data(tags[metadata.EXPERIMENT_TAG])
        read = {path: value.string_value or value.number_value for path, value in begins.hparams.items()}
        assert read == row.params and begins.group_name == f"trial {row.number}"
        assert ends.status == (3 if row.state is TrialState.FAIL else 1)
        domains = {one.name: one.domain_interval or one.domain_discrete for one in experiment.hparam_infos}
        assert set(domains) == set(run.space.parameters)
        assert [one.name.tag for one in experiment.metric_infos] == ["Validation/val_loss_best", "Validation/val_loss"]
        if row.reached[0] is not None:
            (best,) = events.Scalars(name, "Validation/val_loss_best")
            assert (best.value, best.step) == (pytest.approx(row.reached[0]), row.reached[1])

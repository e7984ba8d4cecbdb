"""What TensorBoard's page HPARAMS shows of a run: each trial's sampled parameters, how it ended, its best val_loss.

The driver writes it, beside the events of the trial's worker: one small file as the trial starts, one as it ends.
"""

from __future__ import annotations

import json

from sweep.execution.events import TrialEnded, TrialStarted
from sweep.runs.paths import RunPaths
from sweep.space import SearchSpace
from sweep.space.addresses import Scalar
from sweep.space.parameters import CategoricalParameter, FixedParameter, FloatParameter, IntParameter
from sweep.study import TrialState
from sweep.trials.messages import EpochResult
from sweep.trials.tensorboard import EventFile
from sweep.trials.tensorboardx import (
    DataType,
    Experiment,
    HParamInfo,
    HParamsPluginData,
    Interval,
    MetricInfo,
    MetricName,
    SessionEndInfo,
    SessionStartInfo,
    Status,
    Summary,
    SummaryMetadata,
)

BEST = MetricInfo(name=MetricName(tag="Validation/val_loss_best"), display_name="best val_loss")
LATEST = MetricInfo(name=MetricName(tag="Validation/val_loss"), display_name="val_loss")
FIRST, LAST = ".0", ".end"
"""Suffixes of files: of one second, TensorBoard reads the first before the worker's, and the last behind it."""


class HyperparameterEvents:
    """An observer that writes for TensorBoard. A trial that goes on after a restart has its parameters already."""

    def __init__(self, paths: RunPaths, space: SearchSpace) -> None:
        self._paths = paths
        self._sampled = {path: one for path, one in space.parameters.items() if not isinstance(one, FixedParameter)}
        self._experiment = Experiment(
            name=paths.name,
            hparam_infos=[_info(path, one) for path, one in self._sampled.items()],
            metric_infos=[BEST, LATEST],
        )

    def started(self, event: TrialStarted) -> None:
        """Its parameters, and which parameters there are: the page shows them before any trial has ended."""
        if event.adopted:
            return
        begins = SessionStartInfo(group_name=f"trial {event.number}")
        for path, value in event.params.items():
            if path in self._sampled:
                _set(begins, path, value, self._sampled[path])
        with EventFile(self._paths.trial(event.number).events_folder, None, FIRST) as events:
            events.summary(_summary("experiment", HParamsPluginData(experiment=self._experiment)))
            events.summary(_summary("session_start_info", HParamsPluginData(session_start_info=begins)))
            events.flush()

    def epoch(self, result: EpochResult) -> None:
        """Its worker writes that."""

    def ended(self, event: TrialEnded) -> None:
        """How it ended, and the val_loss of the epoch that stands for it."""
        failed = event.trial.state is TrialState.FAIL
        ends = SessionEndInfo(status=Status.Value("STATUS_FAILURE" if failed else "STATUS_SUCCESS"))
        best, step = event.trial.reached
        with EventFile(self._paths.trial(event.number).events_folder, None, LAST) as events:
            events.summary(_summary("session_end_info", HParamsPluginData(session_end_info=ends)))
            if best is not None:
                events.scalar(BEST.name.tag, best, step or 0)
            events.flush()


Sampled = FloatParameter | IntParameter | CategoricalParameter


def _info(path: str, parameter: Sampled) -> HParamInfo:
    if isinstance(parameter, CategoricalParameter):
        info = HParamInfo(name=path, type=DataType.Value("DATA_TYPE_STRING"))
        info.domain_discrete.extend([_text(choice) for choice in parameter.choices])
        return info
    interval = Interval(min_value=parameter.low, max_value=parameter.high)
    return HParamInfo(name=path, type=DataType.Value("DATA_TYPE_FLOAT64"), domain_interval=interval)


def _set(begins: SessionStartInfo, path: str, value: Scalar, parameter: Sampled) -> None:
    if isinstance(parameter, CategoricalParameter):
        begins.hparams[path].string_value = _text(value)
    else:
        begins.hparams[path].number_value = value


def _text(choice: Scalar) -> str:
    """The page knows one type per parameter, and choices may have several."""
    return choice if isinstance(choice, str) else json.dumps(choice)


def _summary(tag: str, data: HParamsPluginData) -> Summary:
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
    return Summary(value=[Summary.Value(tag=f"_hparams_/{tag}", metadata=SummaryMetadata(plugin_data=plugin))])

"""Reports survive JSON, means are weighted, parameter change is relative."""

from __future__ import annotations

import json
import math

import pytest
import torch

from selector.reports import EpochReport, WeightedMeans, parameter_change
from selector.training import train
from tests.selector.worlds import deterministic, make_dataset, make_settings


def test_reports_survive_json_to_the_bit() -> None:
    for report in train(make_settings(), make_dataset()):
        assert EpochReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
        assert set(report.to_dict()) - set(deterministic(report)) == {"queries_per_second", "seconds"}


def test_weighted_means() -> None:
    means = WeightedMeans()
    means.add(3, a=torch.tensor(1.0), b=torch.tensor(math.nan))
    means.add(torch.tensor(1), a=torch.tensor(5.0))
    assert means["a"] == 2.0
    assert math.isnan(means["b"])


def test_parameter_change_is_relative_and_by_group() -> None:
    before = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Linear(1, 1))
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.fill_(2.0)
    after = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Linear(1, 1))
    after.load_state_dict(before.state_dict())
    assert parameter_change(after, before) == {"0": 0.0, "1": 0.0}
    with torch.no_grad():
        after[0].bias.add_(1.0)
    assert parameter_change(after, before) == {"0": pytest.approx(1 / math.sqrt(12)), "1": 0.0}

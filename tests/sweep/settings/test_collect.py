from __future__ import annotations

import pytest
from pydantic import ValidationError

from sweep.settings.collect import CollectSettings


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"queries": "q.parquet", "build": {"count": 5}}, "build has no effect"),
        ({"build": {"pool": {"size": 2}}, "picks": 3}, "size 2 is below picks 3"),
        ({"beams": {"selector_beam": 2}}, "need a selector"),
        ({"beams": {"selector_sampled": 2}}, "need a selector"),
        ({"selector": "x"}, "selector is given, but"),
        ({"beams": {"similarity": 0, "similarity_sampled": 0, "random": 0}}, "all counts are 0"),
        ({"beams": {"similarity": 2}}, "less than or equal to 1"),
        ({"similarity_temperature": 0}, "greater than or equal to 0.0001"),
        ({"picks": 0}, "greater than or equal to 1"),
        ({"rounds": {"beams": {"selector_sampled": 1}}}, "need a selector: name its folder, or set rounds.online"),
        ({"rounds": {"online": {}}}, "online is given, but"),
        ({"rounds": {"online": {"rce": {"epochs": 0}}, "beams": {"selector_beam": 1}}}, "would not be trained"),
        ({"selector": "x", "rounds": {"online": {}, "beams": {"selector_beam": 1}}}, "rounds.online trains another"),
        ({"rounds": {"beams": {"combined": 0, "random": 0}}}, "all counts are 0"),
        ({"held_out_beams": {"selector_beam": 1}}, "need a selector"),
        ({"budget": {"prompts": 5, "hours": 1}}, "one of the two"),
        ({"budget": {}}, "one of the two"),
    ],
)
def test_contradictions_are_refused(values, expected):
    with pytest.raises(ValidationError, match=expected):
        CollectSettings.model_validate(values)


def test_settings_survive_being_sent_as_text():
    for values in ({}, {"queries": "q.parquet"}, {"selector": "x", "beams": {"selector_beam": 3}, "metric": "always"}):
        found = CollectSettings.model_validate(values)
        assert CollectSettings.model_validate_json(found.model_dump_json()) == found

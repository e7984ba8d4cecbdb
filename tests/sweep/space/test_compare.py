"""Whether a run is resumed with its own space."""

from sweep.space import differences


def test_a_setting_that_came_later_is_no_change_while_it_is_null() -> None:
    before = {"trial": {"seed": 1, "rce": {"epochs": 4}}}
    assert differences(before, {"trial": {"seed": 1, "rce": {"epochs": 4, "clip": None}, "train_queries": None}}) == []
    assert differences(before, {"trial": {"seed": 1, "rce": {"epochs": 4}, "train_queries": 5}}) == [
        "trial.train_queries: absent -> 5"
    ]
    assert differences({"a": None, "b": 1}, {"b": 1}) == ["a: null -> absent"]

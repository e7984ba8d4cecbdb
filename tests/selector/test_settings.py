"""The base of all settings and records. The settings themselves are tested with what they set."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from selector.settings import GrpoSettings, TrialSettings


def test_replacing_checks_the_whole_and_keeps_what_was_not_given() -> None:
    settings = TrialSettings(grpo=GrpoSettings(clip_epsilon=0.1))
    changed = settings.replace(grpo=settings.grpo.replace(lr=1.0))
    assert (changed.grpo.lr, changed.grpo.clip_epsilon) == (1.0, 0.1) and settings.grpo.lr != 1.0
    assert changed.model_fields_set == {"grpo"}, "the seed is still not given"
    assert changed.grpo.model_fields_set == {"lr", "clip_epsilon"}
    for wrong in ({"clip_epsilon": 2.0}, {"unknown": 1}, {"lr": float("nan")}):
        with pytest.raises(ValidationError):
            settings.grpo.replace(**wrong)
    with pytest.raises(ValidationError, match="nothing would be trained"):
        settings.replace(rce=settings.rce.replace(epochs=0), grpo=settings.grpo.replace(epochs=0))

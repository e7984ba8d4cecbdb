"""From any accepted form of training data to the native one."""

from __future__ import annotations

from pathlib import Path

from selector.data import DataSettings, DataSummary, describe, load
from selector.data.native import write_native
from selector.rewards import compute_rewards, missing_fields
from selector.settings import RewardMode, RewardSettings


def import_data(data: Path, embeddings: Path | None, out: Path, keep_fallback: bool) -> DataSummary:
    """Read and check data in any accepted form and write it in the native one. Returns what it holds."""
    dataset = load(DataSettings(path=data, embeddings=embeddings, keep_fallback=keep_fallback))
    write_native(dataset, out, str(data))
    modes = (RewardSettings(mode=mode) for mode in RewardMode)
    usable = next(mode for mode in modes if not missing_fields(mode, set(dataset.outcomes)))
    return describe(dataset, compute_rewards(dataset.outcomes, usable))

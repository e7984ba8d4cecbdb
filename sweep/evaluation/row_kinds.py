"""The kinds of rows of a comparison. Who only reads a comparison needs no more than this, and so no torch."""

from __future__ import annotations

from enum import StrEnum


class RowKind(StrEnum):
    """What a row is."""

    NO_DEMONSTRATIONS = "no_demonstrations"
    RANDOM = "random"
    SIMILARITY = "similarity"
    RCE_ONLY = "rce_only"
    TRIAL = "trial"  # a trial's best epoch by val_loss
    EPOCH = "epoch"  # another epoch of a trial
    CHECKPOINT = "checkpoint"  # a selector from elsewhere, which the settings name
    FINALIST_SEED = "finalist_seed"  # a trial's configuration under one fresh seed
    FINALIST = "finalist"  # the mean over its fresh seeds, made by the evaluation itself

    @property
    def races(self) -> bool:
        """Whether racing may drop it."""
        return self in (RowKind.TRIAL, RowKind.EPOCH)

    @property
    def is_trained(self) -> bool:
        """Whether it may win."""
        return self in (RowKind.TRIAL, RowKind.EPOCH, RowKind.FINALIST)

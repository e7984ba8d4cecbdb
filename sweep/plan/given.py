"""Selectors from elsewhere that a space names, read and checked against what the space says of its own."""

from __future__ import annotations

from collections.abc import Mapping

from selector.errors import CheckpointError, SettingsError
from selector.lever_plus import HEADS, TEMPERATURE
from sweep.errors import SpaceError
from sweep.plan.requests import Request
from sweep.settings.evaluation import CheckpointRow, EvaluationSettings
from sweep.trials.given import Given, is_lever_plus, read_given

ARCHITECTURE = ("hidden", "layers", "heads", "decoder")
NOT_IN_FILES = ("heads", "temperature", "dropout")
"""What a file of Lever-Plus does not hold, and other settings never decide silently."""


def open_init(request: Request, width: int) -> Given | None:
    """What the trials of a request begin with: the run's own copy, or else the file. None: their seed's weights.

    `trial.model` says what the file does not, and must agree with what it does.

    Args:
        request: with the space.
        width: of the data's embeddings.

    Raises:
        SpaceError: it cannot be read, or `trial.model` does not say, or contradicts, what it is.
    """
    space = request.space
    if space.init_from is None:
        return None
    said = space.trial.model.model_fields_set | {path.removeprefix("model.") for path in space.parameters}
    lacking = [name for name in NOT_IN_FILES if name not in said]
    if lacking and is_lever_plus(space.init_from):
        raise SpaceError(
            f"{request.source}: init_from: {space.init_from}: such a file does not hold {', '.join(lacking)}; say "
            f"{'it' if len(lacking) == 1 else 'them'} in trial.model (Lever-Plus: heads {HEADS}, temperature "
            f"{TEMPERATURE}; dropout is that of the training to come)"
        )
    try:
        model = space.trial.model
        given = request.kept.get(request.init or "") or read_given(
            space.init_from, model.heads, model.temperature, model.dropout
        )
    except (CheckpointError, SettingsError) as error:
        raise SpaceError(f"{request.source}: init_from: {error}") from None
    config = given.model.config
    checked = [*ARCHITECTURE, *lacking]
    if wrong := {name: getattr(config, name) for name in checked if getattr(config, name) != getattr(model, name)}:
        listed = ", ".join(f"{name}: {value}" for name, value in wrong.items())
        found = ", ".join(f"{name} {getattr(model, name)}" for name in wrong)
        raise SpaceError(
            f"{request.source}: init_from: {given.name} does not fit trial.model, which has {found}; write trial: "
            f"{{model: {{{listed}}}}}"
        )
    if config.width != width:
        raise SpaceError(
            f"{request.source}: init_from: {given.name} reads embeddings of width {config.width}, and the data has "
            f"{width}"
        )
    return given


def read_rows(settings: EvaluationSettings, kept: Mapping[str, Given], width: int | None = None) -> dict[str, Given]:
    """The selectors from elsewhere that an evaluation asks, by the name of the row.

    Args:
        settings: the evaluation's.
        kept: copies that the run has, by hash. One counts where the file that it was made of is gone.
        width: of the data's embeddings. None: not known yet.

    Raises:
        SpaceError: one cannot be read, or reads embeddings of another width.
    """
    found: dict[str, Given] = {}
    for place, row in enumerate(settings.rows):
        where = f"evaluation.rows[{place}] ({row.name})"
        try:
            copy = None if row.checkpoint.exists() else _copy_of(row, kept)
            found[row.name] = copy or read_given(row.checkpoint, row.heads, TEMPERATURE, 0.0)
        except (CheckpointError, SettingsError) as error:
            raise SpaceError(f"{where}: {error}") from None
        own = found[row.name].model.config.width
        if width is not None and own != width:
            raise SpaceError(f"{where}: {row.checkpoint} reads embeddings of width {own}, and the data has {width}")
    return found


def _copy_of(row: CheckpointRow, kept: Mapping[str, Given]) -> Given | None:
    """The run's copy of a file that is gone. None if there is none, or several may be it."""
    found = [
        one for one in kept.values() if one.name == row.checkpoint.name and row.heads in (None, one.model.config.heads)
    ]
    return found[0] if len(found) == 1 else None

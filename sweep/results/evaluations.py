"""The evaluations of a run, side by side, and the one that its result rests on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from typing import Annotated

from pydantic import Field, ValidationError

from selector.settings import FrozenModel
from sweep.errors import RunError
from sweep.evaluation.records import Evaluation, SourceRecord, read_evaluation, settings_digest
from sweep.results.evaluation_changes import settings_changes
from sweep.results.ledger import HELD_OUT
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.settings.evaluation import EvaluationSettings
from sweep.storage.outage import is_outage

DECLARED = "declared"
"""Name of the evaluation that the run's own space asks for."""


BASE = 56
"""Letters of a name, so that a number has room behind it."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # as a run's: one folder


class _Main(FrozenModel):
    name: Annotated[str, Field(pattern=NAME)]


def main_name(paths: RunPaths) -> str:
    """Name of the evaluation that ranking, verdict and export rest on, whether it is there or not.

    Raises:
        RunError: the file that names it is damaged.
    """
    try:
        return _Main.model_validate_json(paths.main_file.read_bytes()).name
    except OSError as error:
        if is_outage(error):
            raise
        return DECLARED
    except ValidationError:
        raise RunError(
            f"{paths.main_file}: damaged; `python -m sweep evaluate {paths.shown} --main` writes it anew"
        ) from None


def main_evaluation(paths: RunPaths) -> EvaluationPaths | None:
    """The complete evaluation that ranking, verdict and export rest on. None where there is none.

    Raises:
        RunError: somebody chose one that is gone. Nothing else takes its place without a word.
    """
    found = paths.evaluation(main_name(paths))
    if found.file.exists():
        return found
    if found.name != DECLARED:
        raise RunError(
            f"{paths.main_file} names the evaluation {found.name!r}, which is gone: restore it, or choose another one "
            f"with `python -m sweep evaluate {paths.shown} --main`"
        )
    return None


def make_main(paths: RunPaths, name: str) -> None:
    """Have the run's result rest on this evaluation from now on."""
    paths.main_file.write_json(_Main(name=name).model_dump(mode="json"))


def evaluations(paths: RunPaths) -> list[EvaluationPaths]:
    """All complete evaluations of a run: the main one first, the others by name."""
    main = main_name(paths)
    found = [EvaluationPaths(file.parent) for file in paths.evaluations_folder.glob("*/evaluation.json")]
    return sorted(found, key=lambda one: (one.name != main, one.name))


@dataclass(frozen=True)
class Purpose:
    """What an evaluation is asked for.

    Attributes:
        command: of the command line, for the ledger.
        name: that somebody chose for it. None: found by its settings.
        base: of a name where none was chosen and it is not the declared one.
        main: whether the run's result shall rest on it.
    """

    command: str = "evaluate"
    name: str | None = None
    base: str = "evaluation"
    main: bool = False


def choose_name(
    paths: RunPaths, purpose: Purpose, settings: EvaluationSettings, source: SourceRecord, *, declared: bool
) -> str:
    """The name of an evaluation. The same settings have the same name again, others never take it.

    Args:
        paths: the run's.
        purpose: with the name that somebody chose.
        settings: what is compared, and how.
        source: whose answers these will be.
        declared: whether the run's own space asks for it.

    Raises:
        RunError: the chosen name cannot be one, or belongs to another evaluation.
    """
    if purpose.name is not None:
        _check_name(paths, purpose.name, settings, source, declared=declared)
        return purpose.name
    if declared:
        return DECLARED
    digest = settings_digest(settings, source)
    for place in evaluations(paths):
        if _digest_of(place) == digest:
            return place.name
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", purpose.base).strip("-._")[:BASE] or Purpose.base
    names = (base if number == 1 else f"{base}-{number}" for number in count(1))
    return next(name for name in names if not _is_reserved(name) and not paths.evaluation(name).file.exists())


def _check_name(
    paths: RunPaths, name: str, settings: EvaluationSettings, source: SourceRecord, *, declared: bool
) -> None:
    if not re.fullmatch(NAME, name) or (_is_reserved(name) and name != DECLARED):
        raise RunError(
            f"--name {name!r} cannot be an evaluation's name: use up to 64 letters, digits, dots, dashes and "
            f"underscores, the first a letter or digit, no .json at the end, and not {HELD_OUT}"
        )
    place = paths.evaluation(name)
    if name == DECLARED and not declared:
        raise RunError(f"--name {name}: that is the evaluation of the run's own space, and these are other settings")
    if name == DECLARED or not place.file.exists():
        return
    if (before := readable(place)) is not None and _digest_of(place) != settings_digest(settings, source):
        other = "; ".join(settings_changes(before, settings, source)) or "of an unknown model"
        raise RunError(f"evaluation {name!r} of run {paths.name} has other settings ({other}): take another --name")


def _is_reserved(name: str) -> bool:
    return name in (DECLARED, HELD_OUT) or name.endswith(".json")


def _digest_of(place: EvaluationPaths) -> str | None:
    found = readable(place)
    return None if found is None or found.source is None else settings_digest(found.settings, found.source)


def readable(place: EvaluationPaths) -> Evaluation | None:
    """A stored evaluation that may be replaced. None where it is missing or damaged: making it again mends it."""
    try:
        return read_evaluation(place.file)
    except RunError:
        return None

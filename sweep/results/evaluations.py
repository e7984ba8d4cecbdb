"""The evaluations of a run, side by side, and the one that its result rests on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationError

from selector.settings import FrozenModel
from sweep.errors import RunError
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.storage.outage import is_outage

DECLARED = "declared"
"""Name of the evaluation that the run's own space asks for."""


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
    """The complete evaluation that ranking, verdict and export rest on. None where there is none."""
    found = paths.evaluation(main_name(paths))
    return found if found.file.exists() else None


def make_main(paths: RunPaths, name: str) -> None:
    """Have the run's result rest on this evaluation from now on."""
    paths.main_file.write_json(_Main(name=name).model_dump(mode="json"))


def evaluations(paths: RunPaths) -> list[EvaluationPaths]:
    """All complete evaluations of a run: the main one first, the others by name."""
    main = main_name(paths)
    found = [EvaluationPaths(file.parent) for file in paths.evaluations_folder.glob("*/evaluation.json")]
    return sorted(found, key=lambda one: (one.name != main, one.name))

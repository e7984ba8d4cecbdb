"""The evaluations of a run in lines: which one its result rests on, the others, and how often questions were asked."""

from __future__ import annotations

from sweep.errors import RunError
from sweep.evaluation.records import read_evaluation
from sweep.results.evaluations import DECLARED, evaluations, main_name
from sweep.results.ledger import asked_sentences, ledgers_beside, read_ledger
from sweep.runs.paths import EvaluationPaths, RunPaths


def evaluation_lines(paths: RunPaths, place: EvaluationPaths) -> list[str]:
    """Below the table of one evaluation: looks at its questions, what the result rests on, the other evaluations."""
    lines = asked_lines(paths, place.name)
    main = main_name(paths)
    if place.name != main:
        lines.append(
            f"The run's result rests on the evaluation {main!r}, not on this one. The same command with --main changes "
            "that."
        )
    elif main != DECLARED:
        lines.append("The run's result rests on this evaluation.")
    return [*lines, *other_lines(paths, place)]


def asked_lines(paths: RunPaths, name: str) -> list[str]:
    """How often the questions of an evaluation were asked, by this run and by the runs beside it."""
    own = read_ledger(paths.ledger_file)
    last = next((look for look in reversed(own) if look.evaluation == name), None)
    return [] if last is None else asked_sentences(own, ledgers_beside(paths), last)


def other_lines(paths: RunPaths, place: EvaluationPaths | None) -> list[str]:
    """One line for each complete evaluation but this one."""
    name = None if place is None else place.name
    return [_line(other) for other in evaluations(paths) if other.name != name]


def _line(place: EvaluationPaths) -> str:
    try:
        found = read_evaluation(place.file)
    except RunError as error:
        return f"evaluation {place.name}: {error}"
    settings = found.settings
    return (
        f"evaluation {place.name}: {found.questions} questions of the {settings.split} split, {settings.measure}: "
        f"{found.sentence or found.winner.sentence}"
    )

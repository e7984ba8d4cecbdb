"""The evaluations of a run, side by side, and the one that its result rests on."""

from __future__ import annotations

import json

from sweep.runs.paths import EvaluationPaths, RunPaths

DECLARED = "declared"
"""Name of the evaluation that the run's own space asks for."""


def main_evaluation(paths: RunPaths) -> EvaluationPaths | None:
    """The complete evaluation that ranking, verdict and export rest on. None where there is none."""
    name = json.loads(paths.main_file.read_bytes())["name"] if paths.main_file.exists() else DECLARED
    found = paths.evaluation(name)
    return found if found.file.exists() else None

"""What is wrong with a run, worst first, with what shows it and the change to make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sweep.results.evidence import Evidence
from sweep.results.finding import Finding
from sweep.results.findings import ranges, ruler, training
from sweep.results.importance import Importance
from sweep.results.learning_curve import LearningCurve
from sweep.results.receipts import Receipt

FINDINGS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    training.failures,
    ruler.groups,
    ruler.metric,
    ruler.seeds,
    training.health,
    training.best_epochs,
    training.overfitting,
    ranges.ranges,
    ruler.pruning,
    ruler.data,
    ruler.identical,
)
"""All that is looked for. Of findings of one severity the earlier comes first."""


@dataclass(frozen=True)
class Diagnosis:
    """The result of a look at a run.

    Attributes:
        findings: worst first. Empty where nothing was found.
        receipts: one per pruned trial.
        importance: of val_loss, then of answers.
        learning_curves: of val_loss, and of answers where the model was asked.
        not_looked: what could not be looked at, and why, in sentences.
    """

    findings: tuple[Finding, ...]
    receipts: tuple[Receipt, ...]
    importance: tuple[Importance, ...]
    learning_curves: tuple[LearningCurve, ...]
    not_looked: tuple[str, ...]


def diagnose(evidence: Evidence) -> Diagnosis:
    """Look for everything."""
    found = [one for look in FINDINGS for one in look(evidence)]
    curves = evidence.learning_curves
    untold = [f"Whether more data would help {one.target.value}: {one.reason}." for one in curves if one.gain is None]
    seeds = _about_seeds(evidence)
    return Diagnosis(
        tuple(sorted(found, key=lambda one: one.severity)),
        evidence.receipts,
        (evidence.importance, evidence.importance_of_answers),
        curves,
        (*evidence.not_looked, *untold, *seeds),
    )


def _about_seeds(evidence: Evidence) -> list[str]:
    retrained = evidence.evaluation is not None and any(one.seeds for one in evidence.evaluation.finalists)
    if evidence.space.repeats > 1 or retrained:
        return []
    return ["Whether another seed changes the winner: nothing was trained twice (repeats, evaluation.finalists.seeds)."]

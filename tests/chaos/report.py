"""What is told of each run, and of all."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.chaos.attempts import Course
from tests.chaos.checks import Findings


@dataclass
class Result:
    """One run that was disturbed."""

    name: str
    course: Course
    findings: Findings

    @property
    def sound(self) -> bool:
        """Whether the run ended as if nothing had happened."""
        return self.course.finished and not self.course.failures and self.findings.sound

    @property
    def recoveries(self) -> list[float]:
        """Seconds from workers' deaths to their trials' next epochs."""
        return [one.recovery for one in self.course.killed if one.recovery is not None]

    def lines(self) -> list[str]:
        """For people."""
        found, course = self.findings, self.course
        kills = Counter(one.kind for one in course.killed)
        told = ", ".join(f"{count} x {kind}" for kind, count in kills.items()) or "none"
        first = (
            f"{self.name}: {'ok ' if self.sound else 'BAD'} killed {told}; exits {' '.join(map(str, course.exits))}; "
            f"{course.seconds:.0f} s; lost {found.lost}, duplicated {found.duplicated}, orphans {found.orphans}, "
            f"tables {'equal' if course.finished and not found.unequal else 'DIFFER'}; "
            f"{found.leftovers} hidden temporary files"
        )
        if self.recoveries:
            first += f"; next epoch after {', '.join(f'{value:.1f}' for value in self.recoveries)} s"
        if course.missed:
            first += f"; not reached: {', '.join(course.missed)}"
        return [first, *(f"    {line}" for line in (*course.failures, *found.problems)), *self._differing()]

    def _differing(self) -> list[str]:
        return [f"    differs from the undisturbed run: {what}" for what in self.findings.unequal]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {"name": self.name, "sound": self.sound, **asdict(self.findings)} | {
            "kills": [{"kind": one.kind, "recovery": one.recovery} for one in self.course.killed],
            "starts": self.course.attempts,
            "seconds": self.course.seconds,
            "failures": self.course.failures,
        }


def totals(results: Sequence[Result]) -> list[str]:
    """The sum of all runs."""
    kills = Counter(one.kind for result in results for one in result.course.killed)
    recoveries = [value for result in results for value in result.recoveries]
    equal = sum(result.course.finished and not result.findings.unequal for result in results)
    lines = [
        f"{len(results)} runs, {sum(result.sound for result in results)} as if nothing had happened",
        "killed: " + ", ".join(f"{count} x {kind}" for kind, count in sorted(kills.items())),
        *(
            f"{name} {sum(getattr(result.findings, name) for result in results)}"
            for name in ("lost", "duplicated", "orphans")
        ),
        f"final tables equal {equal} of {len(results)}",
    ]
    if recoveries:
        lines.append(
            "from a trial worker's death to the trial's next stored epoch: "
            f"median {statistics.median(recoveries):.1f} s, max {max(recoveries):.1f} s, over {len(recoveries)} deaths"
        )
    return lines

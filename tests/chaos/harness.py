"""Disturbed runs and the undisturbed ones that they are held against."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.attempts import Course, Kill, Run, plan_kills
from tests.chaos.checks import Findings, inspect
from tests.chaos.processes import Kind
from tests.chaos.report import Result
from tests.chaos.spaces import NAME, Mode, space, write_space

KINDS = (Kind.DRIVER, Kind.TRIAL, Kind.POOL, Kind.FINALIST)


@dataclass(frozen=True)
class Reference:
    """An undisturbed run."""

    run: Path
    lifetimes: dict[Kind, float]


class Harness:
    """Runs below one folder; undisturbed runs are made once per space."""

    def __init__(self, folder: Path, seed: int, *, quick: bool = False) -> None:
        self._folder = folder
        self._seed = seed
        self._quick = quick
        self._references: dict[Mode, Reference] = {}

    def reference(self, mode: Mode) -> Reference:
        """The undisturbed run of a mode's space."""
        if mode.reference not in self._references:
            folder = self._folder / f"undisturbed-{mode.reference}"
            write_space(folder, space(mode.reference, quick=self._quick))
            course = Run(folder, []).drive()
            if course.failures or not course.finished:
                raise RuntimeError(f"the undisturbed run failed: {course.failures}")
            self._references[mode.reference] = Reference(course.run, course.lifetimes)
        return self._references[mode.reference]

    def disturbed(self, index: int, mode: Mode) -> Result:
        """A run with random kills; which and when depends on seed and index (and on how fast the machine is)."""
        reference = self.reference(mode)
        kinds = [kind for kind in KINDS if not (self._quick and kind is Kind.FINALIST)]
        if mode is Mode.CLUSTER:
            kinds.append(Kind.RAYLET)
        lifetimes = {**reference.lifetimes, Kind.RAYLET: reference.lifetimes[Kind.DRIVER]}
        kills = plan_kills(random.Random(f"{self._seed}:{index}"), kinds, lifetimes)
        course = self.course(f"run-{index:03d}-{mode}", mode, kills)
        return self.judged(f"run {index} ({mode})", mode, course)

    def course(self, folder: str, mode: Mode, kills: list[Kill]) -> Course:
        """A run with these kills."""
        write_space(self._folder / folder, space(mode, quick=self._quick))
        where = {"cluster": mode is Mode.CLUSTER, "s3": mode is Mode.S3}
        run = Run(self._folder / folder, kills, seed=f"{self._seed}:{folder}", **where)
        return run.drive()

    def judged(self, name: str, mode: Mode, course: Course) -> Result:
        """What came of it, against the undisturbed run."""
        return judged(name, course, self.reference(mode).run, space(mode, quick=self._quick)["budget"]["trials"])


def judged(name: str, course: Course, reference: Path, budget: int) -> Result:
    """Look at what a run left, if it came to its end."""
    findings = Findings()
    if course.finished:
        findings = inspect(course.run, reference, budget)
        code, output = verify(course.run)
        if code:
            findings.problems.append(f"sweep verify ended with {code}: {output[-500:]}")
    else:
        findings.problems.append(f"not finished after {course.attempts} starts")
    return Result(name, course, findings)


def verify(run: Path) -> tuple[int, str]:
    """`python -m sweep verify`."""
    command = [sys.executable, "-m", "sweep", "verify", NAME]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=run.parent.parent, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr

"""A trial's epochs so far, and what follows from them: its verdicts, its best epochs, whether it stops by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable

from selector.health import Verdict, assess, divergence, reason_to_prune
from selector.reports import EpochReport, Stage
from selector.settings import HealthSettings, Keep, TrialSettings
from sweep.trials.messages import BestEpoch, EpochResult


class TrialHistory:
    """What a trial has reported. Add every epoch; `result` is what the driver is told after the newest one.

    Args:
        number: of the trial.
        settings: of the trial.
        health: thresholds of the verdicts.
        rce_digest: names the warm-up that the trial starts from.
        shots: picks that agreement and verdicts are about.
        reports: epochs that were reported before.
    """

    def __init__(
        self,
        number: int,
        settings: TrialSettings,
        health: HealthSettings,
        rce_digest: str,
        shots: int | None,
        reports: Iterable[EpochReport] = (),
    ) -> None:
        self._number = number
        self._settings = settings
        self._health = health
        self._rce_digest = rce_digest
        self._shots = shots
        self.reports: list[EpochReport] = []
        self._verdicts: list[tuple[Verdict, ...]] = []
        for report in reports:
            self.add(report)

    def __len__(self) -> int:
        return len(self.reports)

    def add(self, report: EpochReport) -> None:
        """One more epoch."""
        self.reports.append(report)
        self._verdicts.append(assess(report, self._health))

    def result(self) -> EpochResult:
        """What the newest epoch says."""
        report = self.reports[-1]
        verdicts = self._verdicts[-1]
        ranked = self.ranked()
        stop = reason_to_prune(self._verdicts, self._health)
        if Verdict.DIVERGED in verdicts:
            stop = f"diverged: {divergence(report, self._health)}"
        return EpochResult(
            number=self._number,
            report=report,
            verdicts=verdicts,
            best=self._best(ranked[0]) if ranked else None,
            done=report.step == self._settings.total_epochs,
            stop=stop,
            rce_digest=self._rce_digest,
        )

    def _best(self, report: EpochReport) -> BestEpoch:
        verdicts = self._verdicts[self.reports.index(report)]
        return BestEpoch(report.step, report.val_loss, report.agreement_sequence, verdicts, self._shots)

    def ranked(self) -> list[EpochReport]:
        """Epochs that compete, best first: those of GRPO. Without GRPO it is the reference policy alone."""
        if self._settings.grpo.epochs:
            competing = [report for report in self.reports if report.stage is Stage.GRPO]
        elif len(self.reports) < self._settings.total_epochs:
            competing = []
        elif self._settings.rce.keep is Keep.LAST:
            competing = self.reports[-1:]
        else:
            competing = self.reports
        finite = [report for report in competing if math.isfinite(report.val_loss)]
        ranked = sorted(finite, key=lambda report: (report.val_loss, report.step))
        return ranked if self._settings.grpo.epochs else ranked[:1]

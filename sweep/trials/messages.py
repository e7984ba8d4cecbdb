"""What crosses between driver and workers: the context of a run once, and a result after every epoch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from selector.health import Verdict
from selector.reports import EpochReport
from selector.settings import HealthSettings, ValidationSettings
from sweep.storage.home import Home


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a run share; sent to every worker once.

    Attributes:
        run_folder: its path or URI. A worker opens it for itself, once (`RunPaths.at`).
        shots: picks by which a trial is compared with its reference. None: as many as a beam of the data has.
        init: hash of the weights that all trials start from (`sweep.trials.given`). None: each from its own seed.
        session: names the mark that this driver left in the folder (`RunPaths.driver_mark`).
        home: the way to the folder for workers that do not see it. None where there is no such way.
        installed: versions of what a worker must have as the driver has it. Empty where no other machine takes part.
    """

    run_folder: str
    session: str
    validation: ValidationSettings
    health: HealthSettings
    keep_epochs: int
    data_fingerprint: str
    versions: dict[str, str]
    shots: int | None = None
    init: str | None = None
    home: Home | None = None
    installed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BestEpoch:
    """The best of the epochs that compete: those of GRPO; where there is no GRPO, the reference policy alone.

    `shots` is the number of picks that agreement and verdicts are about.
    """

    step: int
    val_loss: float
    agreement_sequence: float
    verdicts: tuple[Verdict, ...]
    shots: int | None = None


@dataclass(frozen=True)
class EpochResult:
    """What a worker tells the driver after every epoch; the only thing that crosses.

    `best` is None before the first epoch that competes. `stop` says why the trial ends itself before its last epoch.
    """

    number: int
    report: EpochReport
    verdicts: tuple[Verdict, ...]
    best: BestEpoch | None
    done: bool
    stop: str | None
    rce_digest: str

    def to_json(self) -> str:
        """As text; the inverse is `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> EpochResult:
        """From `to_json`'s result."""
        values = json.loads(text)
        best = values["best"]
        typed = {
            "report": EpochReport.from_dict(values["report"]),
            "verdicts": _verdicts(values["verdicts"]),
            "best": best and BestEpoch(**{**best, "verdicts": _verdicts(best["verdicts"])}),
        }
        return cls(**{**values, **typed})


def _verdicts(names: list[str]) -> tuple[Verdict, ...]:
    return tuple(Verdict(name) for name in names)

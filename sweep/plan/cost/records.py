"""What is said of a plan's cost, as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field

from sweep.settings.embed import Inputs


@dataclass(frozen=True)
class Measured:
    """Speeds of the hardware at hand (`sweep.plan.cost.measure`).

    Attributes:
        device: what was measured, for people.
        prompt: seconds of a prompt by phase, its images known.
        image: seconds of an image by phase.
        embed: seconds of an image and of a question that are embedded.
        rce, grpo: seconds of an epoch.
        worker_bytes: most memory of the answering process. None where it was not measured.
    """

    device: str
    prompt: dict[str, float] = field(default_factory=dict)
    image: dict[str, float] = field(default_factory=dict)
    embed: dict[Inputs, float] = field(default_factory=dict)
    rce: float = 0.0
    grpo: float = 0.0
    worker_bytes: int | None = None


@dataclass(frozen=True)
class Phase:
    """One phase of a run.

    Attributes:
        name: `embed`, `collect`, `train`, `evaluate`.
        amounts: numbers by what they count. `known` is missing where answers are kept elsewhere.
        flops: of matrix products.
        at_most: whether it may be less.
        seconds: on this machine, with all workers that fit it. None where nothing was measured.
        gpu_seconds: the same times the GPUs in use.
        workers: at a time, on this machine.
    """

    name: str
    amounts: dict[str, float]
    flops: float
    at_most: bool
    workers: int
    seconds: float | None = None
    gpu_seconds: float | None = None


@dataclass(frozen=True)
class SampleSize:
    """How many questions tell a difference with probability 80 %, and on which assumption.

    Attributes:
        variance: of the difference between two answers to one question.
        is_measured: whether the variance is that of measured beams. Otherwise it is assumed.
        questions: by difference in points.
        asked: that the evaluation asks. None without one.
        told: the difference in points that these tell. None without an evaluation.
    """

    variance: float
    is_measured: bool
    questions: dict[int, int]
    asked: int | None
    told: float | None


@dataclass(frozen=True)
class Cost:
    """Everything that is said before a run. Sizes are bytes.

    Attributes:
        worker: memory of one worker of the model. None where the model is not asked.
        device: of that worker: `cpu` or `cuda`.
        trial: memory of one trial's process, without the data that trials share.
        shared: the data that trials share.
        disk: by what takes it.
        measured: what the speeds were taken on. None where none were.
        warnings: what the plan lacks on this machine, a sentence each.
    """

    phases: tuple[Phase, ...]
    worker: float | None
    device: str
    trial: float
    shared: float
    disk: dict[str, float]
    sample_size: SampleSize
    measured: str | None
    warnings: tuple[str, ...] = ()

"""What training says after every epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


class Stage(StrEnum):
    """The two stages of a trial."""

    RCE = "rce"
    GRPO = "grpo"


@dataclass(frozen=True)
class EpochReport:
    """One epoch's numbers. `None` means that the stage does not have the quantity (RCE has no ratio, KL or beta).

    `step` counts epochs over both stages from 1, `epoch` within the stage. Losses and KL are means over queries, in
    nats. Ratio and advantage statistics run over all measured beams of the epoch. Agreement and parameter change are
    taken against the reference policy (during RCE: against the untrained selector), agreement on validation queries,
    over the picks that `Evaluator.shots` says.
    """

    stage: Stage
    epoch: int
    step: int
    train_loss: float
    policy_loss: float | None
    kl: float | None
    kl_share: float | None
    ratio_mean: float | None
    ratio_min: float | None
    ratio_max: float | None
    clip_fraction: float | None
    advantage_mean: float | None
    advantage_std: float | None
    advantage_max: float | None
    zero_variance_share: float
    beta: float | None
    tau: float | None
    lr: float
    grad_norm: float
    entropy: float
    agreement_top1: float
    agreement_sequence: float
    parameter_change: dict[str, float]
    val_loss: float
    val_reward: float
    train_queries: int
    queries_per_second: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON. The inverse is `from_dict`."""
        return asdict(self)

    def numbers(self) -> dict[str, float]:
        """What can be drawn as a curve, by name. The change of parameters has a name for each group.

        Left out is what the stage does not have, and what counts the epoch.
        """
        values = self.to_dict()
        changes = {f"parameter_change/{group}": change for group, change in values.pop("parameter_change").items()}
        plain = {name: value for name, value in values.items() if name not in ("stage", "step", "epoch")}
        return {name: value for name, value in {**plain, **changes}.items() if value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EpochReport:
        """From `to_dict`'s result."""
        return cls(**{**values, "stage": Stage(values["stage"])})


class WeightedMeans:
    """Sums on the device, read once per epoch."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float | Tensor] = {}

    def add(self, weight: float | Tensor, **means: Tensor) -> None:
        """Add means that stand for `weight` queries or beams."""
        for name, mean in means.items():
            value = mean.detach().double() * weight
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._weights[name] = self._weights.get(name, 0) + weight

    def __getitem__(self, name: str) -> float:
        return float(self._sums[name] / self._weights[name])


def parameter_change(model: nn.Module, reference: nn.Module) -> dict[str, float]:
    """Relative change |theta - theta_ref| / |theta_ref| (Frobenius) by group of parameters. 0 for equal ones."""
    moved: dict[str, float] = {}
    size: dict[str, float] = {}
    import torch  # late: who only reads reports does not wait for it

    with torch.no_grad():
        for (name, now), before in zip(model.named_parameters(), reference.parameters(), strict=True):
            group = name.split(".")[0]
            moved[group] = moved.get(group, 0.0) + float((now - before).double().square().sum())
            size[group] = size.get(group, 0.0) + float(before.double().square().sum())
    return {group: (moved[group] / max(size[group], 1e-30)) ** 0.5 for group in moved}

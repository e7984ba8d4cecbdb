"""Which steps there are, in order, and the most seconds that each may take."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.gpu_check.supervisor import Group

GROUPS = (
    Group("machine", {"machine": 40}),
    Group("training", {"learning_rate_zero": 40, "ragged": 30, "goldens": 20, "repeatable": 20}),
    Group("epochs", {"epochs_cpu": 60, "epochs_device": 60}),
    Group("trials", {"trials": 90}),
    Group("equality", {"fp32_demo": 50, "fp32_random": 50, "bf16": 50}),
    Group("speed", {"usual": 90, "engine": 90}),
    Group("memory", {"memory_fp32": 40, "memory_bf16": 60}),
    Group("embedding", {"embedding": 50}),
)


def chosen(names: Sequence[str] | None) -> list[Group]:
    """All groups, or what holds the steps named. Raises ValueError for a name that no step has."""
    if names is None:
        return list(GROUPS)
    known = [name for group in GROUPS for name in group.seconds]
    if strangers := sorted(set(names) - set(known)):
        raise ValueError(f"no step is called {', '.join(strangers)}; there are {', '.join(known)}")
    kept = [
        Group(group.module, {name: most for name, most in group.seconds.items() if name in names}) for group in GROUPS
    ]
    return [group for group in kept if group.seconds]

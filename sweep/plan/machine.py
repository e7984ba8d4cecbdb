"""What this machine has, held against what a space asks of one worker. Starts no Ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from sweep.settings.labels import shown
from sweep.settings.vlm import WorkerSettings
from sweep.space import Resources, SearchSpace

NVIDIA_CARDS = Path("/proc/driver/nvidia/gpus")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Machine:
    """CPUs and GPUs of a machine.

    Attributes:
        cpus: cores that this process may use, which are those that a Ray started here has.
        gpus: that torch can use.
        cards: that the NVIDIA driver lists, whether torch can use them or not.
        memory: bytes of main memory. 0 where it is not known.
        gpu_memory: bytes of the smallest GPU that torch can use. 0 where there is none.
    """

    cpus: int
    gpus: int
    cards: int
    memory: int = 0
    gpu_memory: int = 0

    @classmethod
    def here(cls) -> Machine:
        """What the process finds around it. Looks only: nothing is started on a GPU."""
        cards = len(list(NVIDIA_CARDS.iterdir())) if NVIDIA_CARDS.is_dir() else 0
        gpus = torch.cuda.device_count()
        memory = min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _granted())
        smallest = min((torch.cuda.get_device_properties(gpu).total_memory for gpu in range(gpus)), default=0)
        return cls(len(os.sched_getaffinity(0)), gpus, cards, memory, smallest)

    def __str__(self) -> str:
        gpus = f"{self.gpus} GPU{'' if self.gpus == 1 else 's'}" if self.gpus else "no GPU that torch can use"
        if self.cards > self.gpus:
            gpus += f" (the NVIDIA driver lists {self.cards}; torch {torch.__version__}"
            gpus += f" was built for CUDA {torch.version.cuda})" if torch.version.cuda else " was built without CUDA)"
        return f"{self.cpus} CPU{'' if self.cpus == 1 else 's'} and {gpus}"


def _granted() -> int:
    """Bytes of memory that the control group of a container grants."""
    try:
        return int(MEMORY_LIMIT.read_text())
    except (OSError, ValueError):  # there is no limit, or no such group
        return sys.maxsize


@dataclass(frozen=True)
class Wanted:
    """What one worker of a kind occupies, and the labels of its node. `section` of the space says so."""

    section: str
    who: str
    cpus: float
    gpus: float
    labels: Mapping[str, str]


def wanted(space: SearchSpace) -> Iterator[Wanted]:
    """The kinds of workers that a space needs."""
    kinds: list[tuple[str, str, Resources | WorkerSettings]] = [("resources", "a trial", space.resources)]
    if space.vlm is not None and (space.evaluation is not None or space.collect is not None):
        kinds.append(("vlm.workers", "a worker of the vision-language model", space.vlm.workers))
    if space.embed is not None:
        kinds.append(("embed.workers", "a worker of the embedding model", space.embed.workers))
    for section, who, asks in kinds:
        yield Wanted(section, who, asks.cpus, asks.gpus, asks.labels)


def lacking(space: SearchSpace, machine: Machine) -> Iterator[str]:
    """One sentence for each kind of worker that the machine has no room for. It may be right for a larger cluster."""
    for one in wanted(space):
        if one.cpus > machine.cpus or one.gpus > machine.gpus:
            yield (
                f"{one.section}: {one.who} asks for {one.cpus:g} CPUs and {one.gpus:g} GPUs, and this machine has "
                f"{machine}; lower it, or run on a cluster with --address"
            )
        elif one.labels:
            yield (
                f"{one.section}.labels: {one.who} asks for {shown(one.labels)}, and this machine has no labels; run on "
                f"a cluster with --address, or with --set {one.section}.labels={{}}"
            )

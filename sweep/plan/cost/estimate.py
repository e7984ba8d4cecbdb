"""What a plan will cost: prompts, tokens, images and FLOPs, memory, disk, and hours where speeds were measured.

Counts are exact for a collection. For trials and their evaluation they are the most that is possible: pruned trials end
earlier, and equal prompts are asked once. docs/own-data.md holds estimates against what then happened.
"""

from __future__ import annotations

import numpy as np

from selector.flops import grpo_flops, rce_flops
from sweep.plan.cost.known import known_prompts
from sweep.plan.cost.memory import disk_bytes, selector_config, trial_bytes, worker_bytes
from sweep.plan.cost.prompts import PromptCost, prompt_cost
from sweep.plan.cost.records import Cost, Measured, Phase
from sweep.plan.cost.sample_size import sample_size
from sweep.plan.cost.work import AnswerWork, TrainWork, Works
from sweep.plan.machine import Machine
from sweep.plan.plan import CollectionPlan, Plan
from sweep.vlm.pool.capacity import capacity_of


def estimate(plan: Plan | CollectionPlan, works: Works, machine: Machine, measured: Measured | None = None) -> Cost:
    """The cost of a plan on a machine.

    Args:
        plan: what would run.
        works: of the same plan.
        machine: whose workers are counted.
        measured: its speeds. None: no times are said.
    """
    phases, costs = [], {}
    for work in works.answers:
        assert works.checkpoint is not None  # noqa: S101 (whoever asks has a checkpoint)
        costs[work.phase] = prompt_cost(work, works.checkpoint)
        known = known_prompts(work, plan.request.shared.answers_folder)
        phases.append(_asked(work, costs[work.phase], known, machine, measured))
    place = 1 if isinstance(plan, CollectionPlan) else 0
    phases.insert(place, _trained(plan, works.training, machine, measured))
    outcomes = plan.dataset if isinstance(plan, Plan) else None
    asked = next((work.questions for work in works.answers if work.phase == "evaluate"), None)
    device = "cuda" if works.answers and works.answers[0].vlm.workers.gpus else "cpu"
    return Cost(
        phases=tuple(phases),
        worker=worker_bytes(works, costs, device, measured),
        device=device,
        trial=trial_bytes(plan.space, works.training.dataset.width),
        shared=float(plan.bytes),
        disk=disk_bytes(plan, works),
        sample_size=sample_size(plan.space.evaluation, outcomes, asked),
        measured=None if measured is None else measured.device,
    )


def estimate_here(plan: Plan | CollectionPlan) -> Cost:
    """The cost of a plan on this machine, nothing measured."""
    return estimate(plan, Works.of(plan), Machine.here())


def _asked(work: AnswerWork, cost: PromptCost, known: int, machine: Machine, measured: Measured | None) -> Phase:
    workers, gpus = fitting(work.vlm.workers.cpus, work.vlm.workers.gpus, work.vlm.workers.count, machine)
    left = 1 - known / max(work.prompts, 1)
    seconds = None
    if measured is not None and work.phase in measured.prompt:
        whole = work.prompts * measured.prompt[work.phase] + work.images * measured.image[work.phase]
        seconds = whole * left / max(workers, 1)
    amounts = {"prompts": work.prompts, "known": known, "tokens": cost.tokens, "computed": cost.computed}
    amounts |= {"images": work.images, "tokens per image": cost.image_tokens}
    gpu_seconds = None if seconds is None else seconds * gpus
    return Phase(work.phase, amounts, cost.flops * left, work.at_most, workers, seconds, gpu_seconds)


def _trained(plan: Plan | CollectionPlan, work: TrainWork, machine: Machine, measured: Measured | None) -> Phase:
    data, resources = work.dataset, plan.space.resources
    pools, groups = np.diff(data.pool_starts), np.diff(data.beam_starts)
    shape = (selector_config(plan.space, data.width), float(pools.mean()), float(groups.mean()), data.picks)
    flops = work.queries * (work.rce * rce_flops(*shape) + work.grpo * grpo_flops(*shape))
    workers, gpus = fitting(resources.cpus, resources.gpus, plan.space.concurrency, machine)
    workers = min(workers, work.trials or workers)
    seconds = None
    if measured is not None:
        seconds = (work.rce * measured.rce + work.grpo * measured.grpo) / max(workers, 1)
    amounts: dict[str, float] = {"trials": work.trials or 1, "epochs": work.rce + work.grpo, "queries": work.queries}
    amounts["trained again"] = work.finalists
    return Phase("train", amounts, flops, True, workers, seconds, None if seconds is None else seconds * gpus)


def fitting(cpus: float, gpus: float, most: int | None, machine: Machine) -> tuple[int, float]:
    """Workers that fit a machine, and the GPUs that they occupy."""
    fit = capacity_of([{"CPU": machine.cpus, "GPU": machine.gpus}], cpus, gpus)
    workers = min(fit, most or fit)
    return workers, workers * gpus

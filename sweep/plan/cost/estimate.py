"""What a plan will cost: prompts, tokens, images and FLOPs, memory, disk, and hours where speeds were measured.

Counts are exact for a collection. For trials and their evaluation they are the most that is possible: pruned trials end
earlier, and equal prompts are asked once. docs/own-data.md holds estimates against what then happened.
"""

from __future__ import annotations

import numpy as np

from selector.flops import grpo_flops, rce_flops
from sweep.embed.flops import dual_flops
from sweep.embed.model import embedding_checkpoint
from sweep.plan.cost.checkpoint import Checkpoint
from sweep.plan.cost.known import known_prompts
from sweep.plan.cost.memory import disk_bytes, selector_config, trial_bytes, worker_bytes
from sweep.plan.cost.prompts import PromptCost, prompt_cost
from sweep.plan.cost.records import Cost, Measured, Phase
from sweep.plan.cost.sample_size import sample_size
from sweep.plan.cost.work import AnswerWork, EmbedWork, TrainWork, Works
from sweep.plan.machine import Machine
from sweep.plan.plan import AnyPlan, EmbeddingPlan, Plan
from sweep.settings.embed import VISION_TOWER, Inputs
from sweep.space import SearchSpace
from sweep.vlm.pool.capacity import capacity_of


def estimate(plan: AnyPlan, works: Works, machine: Machine, measured: Measured | None = None) -> Cost:
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
    place = sum(phase.name == "collect" for phase in phases)
    phases.insert(place, _trained(plan.space, works.training, machine, measured))
    if works.embed is not None:
        phases.insert(0, _embedded(works.embed, works.checkpoint, costs, machine, measured))
    outcomes = plan.dataset if isinstance(plan, Plan) else None
    asked = next((work.questions for work in works.answers if work.phase == "evaluate"), None)
    device = works.answers[0].vlm.workers.device if works.answers else "cpu"
    return Cost(
        phases=tuple(phases),
        worker=worker_bytes(works, costs, device, measured),
        device=device,
        trial=trial_bytes(plan.space, works.training.width),
        shared=float(plan.bytes),
        disk=disk_bytes(plan.space, works),
        sample_size=sample_size(plan.space.evaluation, outcomes, asked),
        measured=None if measured is None else measured.device,
    )


def estimate_here(plan: AnyPlan) -> Cost | None:
    """The cost of a new run on this machine, nothing measured. None where there is none, or items are only embedded."""
    if plan.request.exists or (isinstance(plan, EmbeddingPlan) and plan.collect is None):
        return None
    return estimate(plan, Works.of(plan), Machine.here())


def _embedded(
    work: EmbedWork,
    checkpoint: Checkpoint | None,
    costs: dict[str, PromptCost],
    machine: Machine,
    measured: Measured | None,
) -> Phase:
    if work.settings.model.path == VISION_TOWER and checkpoint is not None:
        tokens = max(cost.image_tokens for cost in costs.values())
        flops = {Inputs.IMAGE: checkpoint.shape.vision.image(1, round(tokens)), Inputs.QUESTION: 0.0}
    else:
        flops = dual_flops(embedding_checkpoint(work.settings, work.vlm))
    resources = work.settings.workers
    workers, gpus = fitting(resources.cpus, resources.gpus, resources.count, machine)
    seconds = None
    if measured is not None:
        each = measured.embed
        seconds = (work.images * each[Inputs.IMAGE] + work.questions * each[Inputs.QUESTION]) / max(workers, 1)
    amounts: dict[str, float] = {"images": work.images, "questions": work.questions, "width": work.width}
    whole = work.images * flops[Inputs.IMAGE] + work.questions * flops[Inputs.QUESTION]
    gpu_seconds = None if seconds is None else seconds * gpus
    return Phase("embed", amounts, whole, at_most=False, workers=workers, seconds=seconds, gpu_seconds=gpu_seconds)


def _asked(work: AnswerWork, cost: PromptCost, known: int | None, machine: Machine, measured: Measured | None) -> Phase:
    workers, gpus = fitting(work.vlm.workers.cpus, work.vlm.workers.gpus, work.vlm.workers.count, machine)
    left = 1 - (known or 0) / max(work.prompts, 1)
    seconds = None
    if measured is not None and work.phase in measured.prompt:
        whole = work.prompts * measured.prompt[work.phase] + work.images * measured.image[work.phase]
        seconds = whole * left / max(workers, 1)
    amounts = {"prompts": work.prompts, "tokens": cost.tokens, "computed": cost.computed}
    amounts |= {} if known is None else {"known": known}
    amounts |= {"images": work.images, "tokens per image": cost.image_tokens}
    gpu_seconds = None if seconds is None else seconds * gpus
    return Phase(work.phase, amounts, cost.flops * left, work.at_most, workers, seconds, gpu_seconds)


def _trained(space: SearchSpace, work: TrainWork, machine: Machine, measured: Measured | None) -> Phase:
    data, resources = work.dataset, space.resources
    pools, groups = np.diff(data.pool_starts), np.diff(data.beam_starts)
    shape = (selector_config(space, work.width), float(pools.mean()), float(groups.mean()), data.picks)
    flops = work.queries * (work.rce * rce_flops(*shape) + work.grpo * grpo_flops(*shape))
    workers, gpus = fitting(resources.cpus, resources.gpus, space.concurrency, machine)
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

"""Finalists on the cluster: one Ray task each, started again elsewhere when its worker dies."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from selector.data import Dataset
from selector.errors import UserError
from sweep.plan.plan import Plan
from sweep.runs.paths import RunPaths
from sweep.storage.outage import is_outage
from sweep.trials.finalists import Finalist, Retrained, retrain
from sweep.trials.messages import TrialContext
from sweep.trials.trial import load_shared


def retrain_all(context: TrialContext, run: str, plan: Plan, finalists: Sequence[Finalist]) -> Iterator[Retrained]:
    """Results as they come. A finalist that fails, or whose worker dies too often, has a result with its `failure`.

    Raises:
        OSError: nothing can be stored any more; what is stored can be continued.
    """
    import ray
    from ray.exceptions import RayError

    resources = plan.space.resources
    task = ray.remote(_task).options(
        num_cpus=resources.cpus,
        num_gpus=resources.gpus,
        max_retries=plan.space.max_retries,
        name=f"Finalist[{run}]",
    )
    dataset, shared = ray.put(plan.dataset), ray.put(context)
    running = {task.remote(shared, dataset, one, resources.cpus, resources.gpus): one for one in finalists}
    try:
        while running:
            finished, _ = ray.wait(list(running), num_returns=1)
            one = running.pop(finished[0])
            try:
                result = ray.get(finished[0])
            except RayError as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                result = Retrained(one.trial, one.seed, None, None, reason)
            if isinstance(result, OSError):
                raise result
            yield result
    finally:
        for left in running:  # the driver was interrupted: what is stored can be continued
            ray.cancel(left, force=True)


def _task(context: TrialContext, dataset: Dataset, finalist: Finalist, cpus: float, gpus: float) -> Any:  # noqa: ANN401
    torch.set_num_threads(max(1, int(cpus)))
    try:
        run = RunPaths.at(context.run_folder)
        result = retrain(context, run, finalist, *load_shared(dataset, context, gpus))
        run.root.forget()  # the process may serve many tasks
        return result
    except UserError as error:
        reason = str(error)
    except Exception as error:  # any failure of one configuration ends that finalist alone, with its reason
        traceback.print_exc()
        if is_outage(error):
            return error  # handed over, not raised: Ray would wrap it
        reason = f"{type(error).__name__}: {error}"
    return Retrained(finalist.trial, finalist.seed, None, None, reason)

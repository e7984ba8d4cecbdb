"""Finalists on the cluster: one Ray task each, started again elsewhere when its worker dies."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from selector.data import Dataset
from selector.errors import UserError
from selector.threads import use_threads
from sweep.errors import RunError
from sweep.execution.ray.deaths import death_in, never_began
from sweep.execution.ray.node_report import check_installed
from sweep.execution.ray.nodes import Nodes
from sweep.plan.plan import Plan
from sweep.storage.outage import is_outage
from sweep.trials.failures import UnfitNodeError, blamed_on_folder, check_seen, reached
from sweep.trials.finalists import Finalist, Retrained, retrain
from sweep.trials.messages import TrialContext
from sweep.trials.trial import load_shared
from sweep.vlm.pool.nodes import selector_of


@dataclass(frozen=True)
class _Unusable:
    """Nothing can be trained on a node. `node`: its id, or its address."""

    node: str
    reason: str


def retrain_all(
    context: TrialContext,
    run: str,
    plan: Plan,
    finalists: Sequence[Finalist],
    say: Callable[[str], None],
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Retrained]:
    """Results as they come. A finalist that fails, or whose worker dies too often, has a result with its `failure`.

    Args:
        context: of the run.
        run: its name.
        plan: its plan.
        finalists: what to train.
        say: shows people a line, such as on a node that is left out.
        left_out: nodes that are of no use, by Ray's ids, and why.

    Raises:
        OSError: nothing can be stored any more; what is stored can be continued.
        RunError: no node is left that can train one.
        ClusterError: none has the labels or the room for it.
    """
    import ray

    resources = plan.space.resources
    nodes = Nodes(resources)
    for node, reason in left_out.items():
        nodes.leave_out(node, reason)
    nodes.room()  # better refused now than waited for
    task = ray.remote(_task)
    dataset, shared = ray.put(plan.dataset), ray.put(context)

    def submit(one: Finalist) -> Any:  # noqa: ANN401 (Ray is untyped)
        placed = task.options(  # all at once: what `options` gives has no `options` of its own
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_retries=plan.space.max_retries,
            name=f"Finalist[{run}]",
            label_selector=selector_of(resources.labels, nodes.avoided),
        )
        return placed.remote(shared, dataset, one, resources.cpus, resources.gpus)

    running = {submit(one): one for one in finalists}
    try:
        while running:
            finished, _ = ray.wait(list(running), num_returns=1)
            one = running.pop(finished[0])
            result = _result_of(finished[0], one)
            if isinstance(result, _Unusable):
                where = nodes.name(result.node)
                if not nodes.leave_out(result.node, result.reason):
                    raise RunError(f"finalists cannot be trained, on {where}: {result.reason}")
                say(f"{where} trains no finalists: {result.reason}")
                running[submit(one)] = one
                continue
            if isinstance(result, OSError):
                raise result
            yield result
    finally:
        for left in running:  # the driver was interrupted: what is stored can be continued
            ray.cancel(left, force=True)


def _result_of(ref: Any, one: Finalist) -> Retrained | OSError | _Unusable:  # noqa: ANN401 (Ray is untyped)
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        result: Retrained | OSError | _Unusable = ray.get(ref)
        return result
    except RayError as error:
        reason = death_in(str(error)).reason
        if isinstance(error, RayTaskError) and never_began(str(error)):
            return _Unusable(str(error.ip), reason)
        return Retrained(one.trial, one.seed, None, None, reason)


def _task(context: TrialContext, dataset: Dataset, finalist: Finalist, cpus: float, gpus: float) -> Any:  # noqa: ANN401
    import ray

    use_threads(cpus)
    run = reached(context)
    try:
        check_installed(context.installed)
        check_seen(run, context.session)
        result = retrain(context, run, finalist, *load_shared(dataset, context, gpus))
        run.root.forget()  # the process may serve many tasks
        return result
    except Exception as raised:  # any failure of one configuration ends that finalist alone, with its reason
        error = blamed_on_folder(raised, run, context)
        if isinstance(error, UnfitNodeError):
            return _Unusable(ray.get_runtime_context().get_node_id(), str(error))
        if not isinstance(error, UserError):
            traceback.print_exc()
        if is_outage(error):
            return error  # handed over, not raised: Ray would wrap it
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return Retrained(finalist.trial, finalist.seed, None, None, reason)

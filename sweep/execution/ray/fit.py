"""Drives Tune over a run's trials: a fresh Tuner at every start, never a restored one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from selector.errors import UserError
from sweep.errors import ClusterError
from sweep.execution.coordinator import Coordinator
from sweep.execution.events import TrialObserver
from sweep.execution.places import Places
from sweep.execution.ray.adapters import study_scheduler, study_searcher, study_stopper
from sweep.execution.ray.cluster import Cluster
from sweep.execution.ray.deaths import reason_in
from sweep.execution.ray.guard import RayLost
from sweep.execution.ray.metrics import PrometheusObserver
from sweep.execution.ray.nodes import Nodes
from sweep.execution.ray.trainable import AVOID, NUMBER, TrialSteps
from sweep.plan.plan import Plan
from sweep.runs.paths import RunPaths
from sweep.space import SearchSpace
from sweep.trials.messages import TrialContext
from sweep.vlm.pool.nodes import selector_of

logger = logging.getLogger(__name__)


class RayBackend:
    """The back-end that runs trials as Tune trainables on a connected cluster."""

    def __init__(self, cluster: Cluster, nodes: Nodes) -> None:
        """`nodes`: those of the cluster."""
        self._cluster = cluster
        self._nodes = nodes

    def concurrency(self, space: SearchSpace) -> int:
        """As `Backend.concurrency`."""
        room = self._nodes.room()
        return min(space.concurrency or room, room)

    @property
    def places(self) -> Places:
        """The cluster's nodes."""
        return self._nodes

    def observers(self, run: str) -> Sequence[TrialObserver]:
        """What feeds Ray's metrics endpoint."""
        return [PrometheusObserver(run)]

    def run(self, coordinator: Coordinator, plan: Plan, paths: RunPaths, context: TrialContext) -> None:
        """As `Backend.run`. Tune's own files go to a folder of the run that nothing reads."""
        from ray import tune

        tune_folder = paths.tune_folder.local().resolve()
        shutil.rmtree(tune_folder, ignore_errors=True)
        tuner = tune.Tuner(
            _trainable(plan, paths.name, context),
            tune_config=tune.TuneConfig(
                search_alg=study_searcher(coordinator, self._nodes, self._cluster),
                scheduler=study_scheduler(),
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_trial_name(paths.name),
                trial_dirname_creator=lambda trial: f"trial-{trial.config[NUMBER]:04d}",
            ),
            run_config=tune.RunConfig(
                name="trials",
                stop=study_stopper(coordinator, self._nodes),
                storage_path=str(tune_folder),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),  # the coordinator hands them out again
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        try:
            with nothing_handed_over(self._cluster.started_here):
                tuner.fit()
        except (Exception, RayLost) as error:
            # Not a trial's failure but Ray's own (the cluster went away, the disk is full), for which Ray has no class:
            # it raises what it comes across. The log has the traceback.
            logger.exception("Ray Tune gave up")
            give_up(coordinator, error)
        coordinator.ended()


@contextmanager
def nothing_handed_over(started_here: bool) -> Iterator[None]:
    """Have Tune hand no variables to workers that have them anyway, because they inherit this process's.

    Credentials among them would stand in Ray's logs. And Ray keeps workers with variables of their own apart, so those
    that it started ahead would be of no use. Workers of a cluster that was joined need them.
    """
    from ray.tune.execution import class_cache

    own, named = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    if started_here:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = own, named


def give_up(coordinator: Coordinator, error: Exception | RayLost) -> None:
    """Keep what ended Tune. After an interrupt all is stored, and `ray job stop` may have removed Tune's folder."""
    if not coordinator.interrupted:
        coordinator.error = coordinator.error or _failure(error)


def _failure(error: Exception | RayLost) -> Exception:
    if isinstance(error, OSError | UserError):
        return error
    if isinstance(error, RayLost):
        return ClusterError(str(error))
    failure = ClusterError(f"Ray Tune failed: {type(error).__name__}: {reason_in(str(error))}")
    failure.__cause__ = error
    return failure


def _trainable(plan: Plan, run: str, context: TrialContext) -> Any:  # noqa: ANN401 (a class that Tune makes)
    from ray import tune

    resources = plan.space.resources
    trainable = tune.with_parameters(
        type("SweepTrial", (TrialSteps, tune.Trainable), {}),
        context=context,
        dataset=plan.dataset,
        cpus=resources.cpus,
        gpus=resources.gpus,
    )
    bundle = {"CPU": resources.cpus, "GPU": resources.gpus}

    def place(config: dict[str, Any]) -> Any:  # noqa: ANN401 (Ray is untyped)
        selector = selector_of(resources.labels, [node for node in config.get(AVOID, "").split(",") if node])
        return tune.PlacementGroupFactory([bundle], **({"bundle_label_selector": [selector]} if selector else {}))

    trainable = tune.with_resources(trainable, place)
    # Ray names actors after their class, and the names of Tune's wrappers say nothing in the dashboard.
    trainable.__name__ = trainable.__qualname__ = f"SweepTrial[{run}]"
    return trainable


def _trial_name(run: str) -> Any:  # noqa: ANN401 (a Tune callback)
    return lambda trial: f"{run}/trial-{trial.config[NUMBER]:04d}"

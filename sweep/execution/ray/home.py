"""The way to the driver's machine for nodes that do not see the run's folder: an actor on the driver's node."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selector.errors import first_line
from sweep.storage.home_files import HomeFiles
from sweep.storage.path import StoredPath

AT_ONCE = 16
"""Workers that are served at the same time."""


class HomeActor:
    """`HomeFiles` in a process of its own, so that the driver's own work holds nobody up. It ends with the driver."""

    def __init__(self, root: str) -> None:
        self._files = HomeFiles(Path(root))

    def ask(self, what: str, key: str, *given: object) -> Any:  # noqa: ANN401
        """As `HomeFiles.ask`."""
        return self._files.ask(what, key, *given)


@dataclass(frozen=True)
class RayHome:
    """As `Home`, through Ray. What is asked again after the actor's death has the same effect."""

    actor: Any
    place: str

    def ask(self, what: str, key: str, *given: object) -> Any:  # noqa: ANN401
        """As `Home.ask`."""
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(self.actor.ask.remote(what, key, *given))
        except RayError as error:
            reason = f"the driver's machine cannot be reached through Ray: {first_line(error)[:200]}"
            return OSError(errno.EIO, reason, f"{self.place}/{key}")


def open_home(folder: StoredPath, run: str) -> RayHome:
    """Start the actor, on the node that this process is connected to. `run` names it in Ray's dashboard."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(type(f"RunFiles[{run}]", (HomeActor,), {})).options(
        num_cpus=0,
        max_concurrency=AT_ONCE,
        max_restarts=-1,
        max_task_retries=-1,
        scheduling_strategy=here,
    )
    return RayHome(actor.remote(folder.place), folder.place)

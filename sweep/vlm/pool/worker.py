"""The actor that holds an answerer, and how its calls end."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from selector.errors import UserError
from sweep.vlm.work import Failure, WorkItem

if TYPE_CHECKING:
    import ray
    from ray.exceptions import RayError

Table_contra = TypeVar("Table_contra", contravariant=True)
Given_co = TypeVar("Given_co", covariant=True)


class Answerer(Protocol[Table_contra, Given_co]):
    """What a worker holds: a loaded model, and what it gives for a work item."""

    def answer(
        self, table: Table_contra, items: Sequence[WorkItem], score: bool = False
    ) -> Sequence[Given_co | Failure]:
        """One result per item, in their order.

        Raises:
            UserError: no item can be answered as things are. This ends the run. What is wrong with a single item
                should not be raised at all, but be its result.
        """
        ...


@dataclass(frozen=True)
class CallFailed:
    """How a call ended that gave no results.

    Attributes:
        reason: one line.
        mistake: of the user's, with which every other worker would end as well.
    """

    reason: str
    mistake: bool = False


class VlmWorker:
    """Runs in a process of its own. Exceptions are answers here: none crosses the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._answerer: Answerer[Any, Any] | None = None
        self._table: Any = None

    def where(self) -> tuple[str, str]:
        """The first call: it returns when Ray has found a place for the worker. Process for people, and node's id."""
        import ray

        return f"pid {os.getpid()} on {ray.util.get_node_ip_address()}", ray.get_runtime_context().get_node_id()

    def load(self, factory: Callable[[], Answerer[Any, Any]], table: Any, cpus: float) -> CallFailed | None:  # noqa: ANN401
        """Build the answerer. `table` is a read-only view into Ray's object store."""
        try:
            _use_cores(cpus)
            self._answerer, self._table = factory(), table
            _use_cores(cpus)  # the factory may have been the one to import torch
        except Exception as error:  # tells the driver why there is no worker, whatever it is
            return _raised(error)
        return None

    def answer(self, items: list[WorkItem], score: bool) -> list[Any] | CallFailed:
        """One result per item, or why there are none."""
        if self._answerer is None:
            raise RuntimeError("nothing was loaded")
        try:
            groups = [list(group) for _, group in groupby(items, key=lambda item: item.query)] if score else [items]
            results = [one for group in groups for one in self._answerer.answer(self._table, group, score)]
        except Exception as error:  # the driver finds out which item it was
            return _raised(error)
        if len(results) != len(items):
            return CallFailed(f"gave {len(results)} results for {len(items)} work items")
        return results

    def __repr__(self) -> str:
        """Shown in Ray's dashboard and logs."""
        return self._name


def _use_cores(cpus: float) -> None:
    """Torch would take every core of the node, in each worker."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(max(1, int(cpus)))


def _raised(error: Exception) -> CallFailed:
    if isinstance(error, UserError):
        return CallFailed(" ".join(str(error).split()), mistake=True)
    traceback.print_exc()  # for the worker's log
    return CallFailed(_named(error))


def _named(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def fetch(ref: ray.ObjectRef, timeout: float | None = None) -> Any:  # noqa: ANN401 (what the call returned)
    """What a call returned, or `CallFailed` if its worker, node or object is lost or `timeout` seconds have passed."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        return ray.get(ref, timeout=timeout)
    except GetTimeoutError:
        return CallFailed("it was not finished")
    except RayError as error:
        return CallFailed(_loss(error))


def _loss(error: RayError) -> str:
    """Ray's reasons take many lines, most of them advice."""
    from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError

    if isinstance(error, OutOfMemoryError):
        return (
            "its node ran out of memory and Ray ended the worker; lower `count` or `batch` of its workers, or "
            "take a machine with more memory"
        )
    if isinstance(error, NodeDiedError):
        return "its node is gone"
    if isinstance(error, ActorDiedError):
        for line in str(error).splitlines():
            _, told, detail = line.partition("Worker exit detail: ")
            if told:
                return f"its process died ({detail.split('. ')[0].rstrip('.')})"
    return _named(error)

"""A pretended CUDA card for machines without one: its tensors say that they lie on `cuda`, and compute on the CPU.

What a real card refuses is refused: operations between tensors of both devices, numpy of a tensor on the card. What the
host would have to wait for is counted (`waits`). Values are those of the CPU, so results can be compared to the bit.

How: to C++ the tensors are on the CPU (autograd would ask a real driver else); Python's view of devices is changed by a
function mode, and every operation is looked at by a tensor subclass. Left out: inference mode, which such a subclass
cannot have; mixing inside of backward, where autograd makes tensors of its own.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CARD = torch.device("cuda", 0)
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
READING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"}
waits: Counter[str] = Counter()


class OnCard(Tensor):
    """A tensor on the card; `inner` holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnCard:
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=inner.device,
        )
        made.inner = inner
        return made

    def __init__(self, inner: Tensor) -> None:
        pass

    def __repr__(self) -> str:
        return f"OnCard({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnCard) else value


def _wrapped(value: Any) -> Any:
    return OnCard(value) if isinstance(value, Tensor) and not isinstance(value, OnCard) else value


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    name = func._schema.name
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    if name != "aten::copy_" and torch._C._current_graph_task_id() == -1:
        strangers = [value for value in tensors if not isinstance(value, OnCard) and value.dim()]
        if name in INDEXING and not any(value is args[0] or value is args[-1] for value in strangers):
            waits[f"{name} by an index on the CPU"] += len(strangers)
        elif strangers:
            raise RuntimeError(f"Expected all tensors to be on the same device: {func}")
    waits[name] += name in READING
    if name in INDEXING:
        masks = [value for value in args[1] if isinstance(value, Tensor) and value.dtype is torch.bool]
        waits[f"{name} by a mask"] += len(masks)
    result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    returned = func._schema.returns
    if func._schema.is_mutable and returned and returned[0].alias_info is not None and returned[0].alias_info.is_write:
        return kwargs["out"] if "out" in kwargs else args[0]
    return tree_map(_wrapped, result)


class _ToCard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return OnCard(value.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _inner(gradient)


class _ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: OnCard) -> Tensor:
        return value.inner.detach().clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return OnCard(gradient)


def _moved(value: Any, device: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    on_card = isinstance(value, OnCard)
    if torch.device(device).type == "cuda":
        return value if on_card else _ToCard.apply(value)
    waits["to the CPU"] += on_card
    return _ToCpu.apply(value) if on_card else value


class _Pretence(TorchFunctionMode):
    """Python's view of devices."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__self__", None) is Tensor.device:
            return CARD if isinstance(args[0], OnCard) else func(*args)
        if func is Tensor.to:
            return _to(func, args, kwargs)
        if func is Tensor.cpu:
            return _moved(args[0], "cpu")
        if func is Tensor.pin_memory and not isinstance(args[0], OnCard):
            return args[0]
        if isinstance(args[0] if args else None, OnCard):
            if func in (Tensor.numpy, Tensor.__array__, Tensor.pin_memory):
                raise TypeError(f"{func.__name__}: not of a tensor on a card")
            if func is Tensor.tolist:
                waits["tolist"] += 1
                return args[0].inner.tolist()
        if func is torch.tensor:
            args = tree_map(_inner, args)
        device = kwargs.get("device")
        if device is None or torch.device(device).type != "cuda":
            return func(*args, **kwargs)
        return tree_map(lambda value: _moved(value, device), func(*args, **kwargs | {"device": torch.device("cpu")}))


def _to(func: Callable[..., Tensor], args: Any, kwargs: Any) -> Tensor:
    """`Tensor.to` in all of its forms."""
    value, target, others = args[0], kwargs.pop("device", None), []
    kwargs.pop("non_blocking", None)
    for given in args[1:]:
        if isinstance(given, Tensor):
            target = CARD if isinstance(given, OnCard) else given.device
            others.append(given.dtype)
        elif isinstance(given, torch.device | str):
            target = given
        elif isinstance(given, torch.dtype):
            others.append(given)
    if others or kwargs.get("dtype") is not None:
        value = func(value, *others, **kwargs)
    return value if target is None else _moved(value, target)


@contextlib.contextmanager
def pretended_card() -> Iterator[Counter[str]]:
    """Within, torch has one card. Gives `waits`, emptied."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    waits.clear()
    with (
        patch.object(torch.cuda, "is_available", lambda: True),
        patch.object(torch.cuda, "empty_cache", lambda: None),
        patch.object(torch.cuda, "synchronize", lambda *_: None),
        _Pretence(),
    ):
        try:
            yield waits
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(before)

"""What scripts say about PyTorch itself at their start: default types, determinism, printing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.device import Device
from distgrad.autograd.dtypes import set_default_dtype
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import DTypeLike
from distgrad.errors import DistgradError
from distgrad.functions.arguments import check_place

METHODS: dict[str, Callable[..., Any]] = {}

__all__ = [
    "BoolTensor",
    "ByteTensor",
    "CharTensor",
    "DoubleTensor",
    "FloatTensor",
    "HalfTensor",
    "IntTensor",
    "LongTensor",
    "ShortTensor",
    "Size",
    "are_deterministic_algorithms_enabled",
    "set_default_device",
    "set_default_tensor_type",
    "set_printoptions",
    "typename",
    "use_deterministic_algorithms",
]


class Size(tuple[int, ...]):
    """A shape: a tuple of lengths, with the number of elements."""

    __slots__ = ()

    def numel(self) -> int:
        """Return the number of elements."""
        return math.prod(self)


def _typed(name: str, dtype: DTypeLike) -> Callable[..., Tensor]:
    wanted = np.dtype(dtype)

    @apart
    @keeps_form
    def make(*data: Any, device: Device = None) -> Tensor:
        check_place(device)
        if len(data) == 1 and not isinstance(data[0], int):
            return Tensor(np.array(data[0], wanted))
        return Tensor(np.zeros(data, wanted))

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"PyTorch's older way to a {wanted} Tensor: of data, or (zeros) of lengths."
    return make


BoolTensor = _typed("BoolTensor", np.bool_)
ByteTensor = _typed("ByteTensor", np.uint8)
CharTensor = _typed("CharTensor", np.int8)
ShortTensor = _typed("ShortTensor", np.int16)
IntTensor = _typed("IntTensor", np.int32)
LongTensor = _typed("LongTensor", np.int64)
HalfTensor = _typed("HalfTensor", np.float16)
FloatTensor = _typed("FloatTensor", np.float32)
DoubleTensor = _typed("DoubleTensor", np.float64)

_REAL = {"HalfTensor": np.float16, "FloatTensor": np.float32, "DoubleTensor": np.float64}


def set_default_tensor_type(t: Any) -> None:
    """``set_default_dtype``, of ``torch.DoubleTensor`` or its name."""
    name = (t if isinstance(t, str) else getattr(t, "__name__", "")).rpartition(".")[2]
    if name not in _REAL:
        raise DistgradError(f"set_default_tensor_type takes {', '.join(_REAL)}; got {t!r}")
    set_default_dtype(_REAL[name])


def set_default_device(device: Device) -> None:
    """Take the CPU, where everything is. Errors: DistgradError for another device."""
    check_place(device)


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Take True: every algorithm here is. Errors: DistgradError for False."""
    if not mode:
        raise DistgradError("use_deterministic_algorithms(False): all of distgrad's are; leave it")


def are_deterministic_algorithms_enabled() -> bool:
    """Return True."""
    return True


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """``np.set_printoptions``, which Tensors follow; ``profile`` is default, short or full."""
    profiles: dict[str | None, dict[str, Any]] = {
        None: {},
        "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
        "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
        "full": {"precision": 4, "threshold": np.iinfo(np.int64).max, "linewidth": 80},
    }
    if profile not in profiles:
        raise DistgradError(f"profile={profile!r}: default, short or full")
    given = {
        "precision": precision,
        "threshold": None if threshold is None else min(threshold, np.iinfo(np.int64).max),
        "edgeitems": edgeitems,
        "linewidth": linewidth,
        "suppress": None if sci_mode is None else not sci_mode,
    }
    np.set_printoptions(**profiles[profile] | {k: v for k, v in given.items() if v is not None})


def typename(obj: object) -> str:
    """Return the name of what ``obj`` is, with its module."""
    kind = type(obj)
    return f"{kind.__module__}.{kind.__qualname__}"

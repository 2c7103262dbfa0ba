"""How NumPy's calls of reductions are read: settings by position or by name, some refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distgrad.autograd.op import Op, dispatch
from distgrad.autograd.tensor import TensorLike
from distgrad.errors import ShapeError
from distgrad.ops.elementwise import astype

# out= would overwrite what backward needs; the others are np.where and np.maximum away.
REFUSED = ("out", "initial", "where")
_COMMON = {"axis", "keepdims"}


def as_numpy(numpy_function: Callable[..., Any], call: Callable[..., Any], order: str) -> None:
    """Let ``numpy_function`` on Tensors reach ``call(a, axis=, keepdims=, …)``.

    ``order`` names NumPy's settings in NumPy's order. Of these ``dtype`` converts the input first;
    the ones in REFUSED, and those not in ``order``, raise ShapeError.
    """
    positions = order.split()
    taken = [s for s in positions if s not in REFUSED]
    if "ddof" in taken:
        taken.append("correction")

    def entry(a: TensorLike, *args: Any, **settings: Any) -> Any:
        if not args:
            if settings.get("dtype", 0) is None:
                del settings["dtype"]
            if settings.keys() <= _COMMON:
                return call(a, **settings)  # the short way: nothing to sort out
        settings.update(zip(positions, args, strict=False))
        unknown = sorted(s for s in settings if s not in taken and settings[s] is not None)
        if unknown:
            raise ShapeError(
                f"np.{numpy_function.__name__} on a Tensor does not take {', '.join(unknown)}; "
                f"it takes {', '.join(taken)}"
            )
        if "correction" in settings:
            settings["ddof"] = settings.pop("correction")
        dtype = settings.pop("dtype", None)
        settings = {s: v for s, v in settings.items() if s not in REFUSED}
        return call(a if dtype is None else astype(a, dtype=dtype), **settings)

    dispatch(numpy_function, of=call if isinstance(call, Op) else None)(entry)

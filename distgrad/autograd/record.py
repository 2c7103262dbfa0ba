"""How a call of an op becomes a node: its edges, and what its closures read.

Nearly every line runs for every recorded op. What reads clumsily here was measured.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from distgrad.autograd.node import CONSTANT, OUTPUT, Edge, Joint, Node, Recordable, SavedArray
from distgrad.autograd.saved_check import WHOLE, inside, large
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError

_ndarray = np.ndarray
LISTS = {list, tuple}
"""Inputs that no body meets: they come as arrays."""
NUMBERS = {np.dtype(code).type for code in "?bBhHiIlLqQefdFD"}
"""NumPy's scalars, which count as Python's numbers beside Tensors: as strong ones,
``x / np.sqrt(64)`` would make a whole model float64."""
OF_ANOTHER_KIND = LISTS | NUMBERS


def with_numbers(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the inputs of an op; NumPy's scalars beside Tensors as Python's numbers."""
    if NUMBERS.isdisjoint(map(type, inputs)) or not any(isinstance(x, Tensor) for x in inputs):
        return inputs
    return tuple([x.item() if type(x) in NUMBERS else x for x in inputs])


def recorded(  # noqa: PLR0912 (calls cost)
    op: Recordable,
    inputs: Sequence[Any],
    value: Any,
    vjps: Any,
    attributes: Mapping[str, Any],
    outputs: int,
    *,
    real: bool = False,
    entire: bool = False,
) -> Node:
    """Return the node of a call of ``op`` whose body returned ``value`` and closures ``vjps``.

    ``real`` refuses complex inputs; ``entire`` looks at every element of large arrays that are
    read again.
    """
    joint = None
    if type(vjps) is not tuple:
        joint, vjps = _opened(vjps, inputs)
    if len(vjps) != len(inputs):
        raise _wrong_number(vjps, inputs)
    limit = -1 if entire else WHOLE
    edges: list[Edge] = []
    read: list[SavedArray] = []
    given: list[SavedArray] = []
    if joint is not None:
        found = inside(joint.func, entire)
        read = [(a, old, _role(a, inputs, value)) for a, old, _ in found]
    for x, vjp in zip(inputs, vjps):  # noqa: B905 (checked above; strict=True costs 0.1 µs)
        a = x
        if isinstance(x, Tensor):
            a = x.array
            if x.requires_grad:
                source = x._node
                dtype = a.dtype
                edges.append((vjp, x if source is None else source, x._index, a.shape, dtype))
                if real and dtype.kind == "c":
                    raise refused_complex(op)
                # What is no function of Python's own has no cells (np.negative).
                if joint is None and type(vjp) is FunctionType:
                    cells = vjp.__closure__
                    if cells is not None:
                        for cell in cells:
                            c = cell.cell_contents
                            if type(c) is _ndarray:
                                for saved in read:
                                    if saved[0] is c:
                                        break  # another closure reads it, too
                                else:
                                    old = c.tobytes() if c.nbytes <= limit else large(c, entire)
                                    read.append((c, old, _role(c, inputs, value)))
                            elif type(c) is list or type(c) is FunctionType:
                                read += inside(c, entire)
                if source is not None:
                    continue
            else:
                edges.append((None, a, CONSTANT, None, None))
        else:
            edges.append((None, x, CONSTANT, None, None))
            if type(x) is not _ndarray:
                continue
        for saved in read:
            if saved[0] is a:
                given.append(saved)
                break
        else:
            given.append((a, a.tobytes() if a.nbytes <= limit else large(a, entire), None))
    return Node(op, edges, joint, attributes, outputs, read or (), given or ())


def edges_from(inputs: Sequence[Any], vjps: Any) -> tuple[list[Edge], Callable[..., Any] | None]:
    """Pair each input with its closure; those of inputs that need no gradient are dropped."""
    joint = None
    if type(vjps) is not tuple:
        joint, vjps = _opened(vjps, inputs)
    if len(vjps) != len(inputs):
        raise _wrong_number(vjps, inputs)
    edges: list[Edge] = []
    for x, vjp in zip(inputs, vjps):  # noqa: B905 (as above)
        if not isinstance(x, Tensor):
            edges.append((None, x, CONSTANT, None, None))
        elif not x.requires_grad:
            edges.append((None, x.array, CONSTANT, None, None))
        else:
            node = x._node
            data = x.array
            edges.append((vjp, x if node is None else node, x._index, data.shape, data.dtype))
    return edges, joint


def _role(c: Array, inputs: Sequence[Any], value: Any) -> int | None:
    """Return which input's array ``c`` is, OUTPUT for the value, None if it is neither's alone."""
    found = None
    for i, x in enumerate(inputs):
        if (x.array if isinstance(x, Tensor) else x) is c:
            if found is not None and inputs[found] is not x:
                return None  # one array under two Tensors
            found = i if found is None else found
    return OUTPUT if found is None and c is value else found


def _opened(vjps: Any, inputs: Sequence[Any]) -> tuple[Any, tuple[Any, ...]]:
    """Return the joint closure if there is one, and a closure for each input."""
    if type(vjps) is not Joint:
        return None, (vjps,)
    wanted = tuple([isinstance(x, Tensor) and x.requires_grad for x in inputs])
    picks = tuple([operator.itemgetter(i) for i in range(len(inputs))])
    return functools.partial(vjps.function, wanted), picks


def _wrong_number(vjps: Sequence[Any], inputs: Sequence[Any]) -> GradError:
    return GradError(f"an op of {len(inputs)} inputs returned {len(vjps)} gradient closures")


def refused_complex(op: Recordable) -> GradError:
    """Return the error of an op of real numbers that was given complex ones."""
    return GradError(
        f"{op.name} has gradients for real numbers alone; take np.real, np.imag or np.abs of the "
        f"complex tensor first, or compute from other ops"
    )

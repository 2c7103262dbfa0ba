"""The short way of ops of one and two inputs: what ``Op.__call__`` does, without its loops.

On small arrays an op costs little more than Python's own calls, so what is common is written out
here: one array comes out, with a closure for each input, and nobody watches. All else is handed to
the long way. Measured: a recorded op of a small array costs half of what it does the long way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from distgrad.autograd.mode import fused_enabled, grad_enabled, watching
from distgrad.autograd.node import CONSTANT, OUTPUT, Node, SavedArray, next_number
from distgrad.autograd.promotion import of_whole_numbers, operands
from distgrad.autograd.record import LISTS, NUMBERS, OF_ANOTHER_KIND, recorded, refused_complex
from distgrad.autograd.saved_check import WHOLE, inside, large
from distgrad.autograd.signature import explain
from distgrad.autograd.tensor import Tensor
from distgrad.errors import DistgradError

_ndarray = np.ndarray
_new = object.__new__
_watching, _fused, _recording = watching.get, fused_enabled.get, grad_enabled.get
_NONE: Mapping[str, Any] = {}
_WIDE = (np.dtype(np.float64), np.dtype(np.complex128))
"""What NumPy makes of whole numbers where real or complex ones come out."""


def _add_read(
    cells: tuple[Any, ...], read: list[SavedArray], value: Any, a: Any, b: Any = None
) -> None:
    """Add what a closure with these ``cells`` reads to ``read``."""
    for cell in cells:
        c = cell.cell_contents
        if type(c) is _ndarray:
            role = 0 if c is a else 1 if c is b else OUTPUT if c is value else None
            read.append((c, c.tobytes() if c.nbytes <= WHOLE else large(c, False), role))
        elif type(c) is list or type(c) is FunctionType:
            read += inside(c, False)


def of_one(op: Any) -> Callable[..., Any]:  # noqa: PLR0915 (calls cost, here and below)
    """Return how ``op``, of one input, is called: with the input and the attributes' mapping."""

    def call(  # noqa: PLR0911, PLR0912, PLR0915
        x: Any, attributes: Mapping[str, Any] = _NONE
    ) -> Any:
        record = False
        if isinstance(x, Tensor):
            a, record = x.array, x.requires_grad
        else:
            a = x
            if type(x) in LISTS:
                return op.long(x, **attributes)
        if _watching() is not None:
            return op.long(x, **attributes)
        if attributes:
            for setting in attributes.values():
                if isinstance(setting, Tensor) or type(setting) in NUMBERS:
                    attributes = op.bare(attributes)
                    break
        result = None
        try:
            if (
                op.fused is not None
                and (not op.asked_from or (type(a) is _ndarray and a.nbytes >= op.asked_from))
                and _fused()
            ):
                result = op.fused(a, **attributes)
            if result is None:
                # An empty ** costs as much as a small product.
                result = op.function(a, **attributes) if attributes else op.function(a)
        except DistgradError:
            raise
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            raise explain(op, [a], error) from error
        if type(result) is not tuple or len(result) != 2:
            return op.finished((x,), record, attributes, result)
        value, vjp = result
        if type(value) is not _ndarray:
            if type(value) is tuple:
                return op.finished((x,), record, attributes, result)
            value = np.asarray(value)
        tensor: Tensor = _new(Tensor)  # from here on what ``output`` and ``recorded`` do
        tensor.array = value
        tensor.grad = None
        tensor._index = 0
        tensor._place = None
        tensor._listener = None
        tensor._hooks = None
        if not (record and _recording() and value.dtype.kind in "fc"):
            tensor._node = None
            tensor.requires_grad = False
            return tensor
        tensor.requires_grad = True
        if type(vjp) is not FunctionType:
            tensor._node = recorded(op, (x,), value, vjp, attributes, 1, real=op.real)
            return tensor
        dtype = a.dtype
        if op.real and dtype.kind == "c":
            raise refused_complex(op)
        source = x._node
        tensor._node = node = _new(Node)
        node.op = op
        node.edges = ((vjp, x if source is None else source, x._index, a.shape, dtype),)
        node.joint = None
        node.attributes = attributes
        node.outputs = 1
        read: list[SavedArray] = []
        if vjp.__closure__ is not None:
            _add_read(vjp.__closure__, read, value, a)
        node.read = read or ()
        node.given = ()
        if source is None:
            if read and read[0][0] is a:
                node.given = (read[0],)
            else:
                node.given = ((a, a.tobytes() if a.nbytes <= WHOLE else large(a, False), 0),)
        node.hooks = None
        node.origin = None
        node.sequence = next_number()
        return tensor

    return call


def of_two(  # noqa: PLR0915
    op: Any, tensors: bool = False, real: bool = False
) -> Callable[..., Any]:
    """Return how ``op``, of two inputs, is called: with both and the attributes' mapping.

    As ``tensors`` have it in their operators: Tensors of unequal dtypes, and whole numbers beside
    Python's or divided (``real``), are promoted by PyTorch's rules (promotion.py).
    """

    def promoted(x: Any, y: Any, attributes: Mapping[str, Any]) -> Any:
        return op.short(*operands(x, y, real), attributes)

    def call(  # noqa: PLR0911, PLR0912, PLR0915
        x: Any, y: Any, attributes: Mapping[str, Any] = _NONE
    ) -> Any:
        to_x = to_y = False
        if isinstance(x, Tensor):
            a, to_x = x.array, x.requires_grad
        else:
            a = x
            if type(x) in OF_ANOTHER_KIND:
                if type(x) in LISTS:
                    return op.long(x, y, **attributes)
                if isinstance(y, Tensor):
                    a = x = x.item()
        if isinstance(y, Tensor):
            b, to_y = y.array, y.requires_grad
            if tensors and type(a) is _ndarray and a.dtype is not b.dtype:
                return promoted(x, y, attributes)
        else:
            b = y
            if type(y) in OF_ANOTHER_KIND:
                if type(y) in LISTS:
                    return op.long(x, y, **attributes)
                if isinstance(x, Tensor):
                    b = y = y.item()
        if _watching() is not None:
            return op.long(*(operands(x, y, real) if tensors else (x, y)), **attributes)
        if attributes:
            for setting in attributes.values():
                if isinstance(setting, Tensor) or type(setting) in NUMBERS:
                    attributes = op.bare(attributes)
                    break
        result = None
        try:
            if (
                op.fused is not None
                and (not op.asked_from or (type(a) is _ndarray and a.nbytes >= op.asked_from))
                and _fused()
            ):
                result = op.fused(a, b, **attributes)
            if result is None:
                # An empty ** costs as much as a small product.
                result = op.function(a, b, **attributes) if attributes else op.function(a, b)
        except DistgradError:
            raise
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            raise explain(op, [a, b], error) from error
        if type(result) is not tuple or len(result) != 2:
            return op.finished((x, y), to_x or to_y, attributes, result)
        value, vjps = result
        if type(value) is not _ndarray:
            if type(value) is tuple:
                return op.finished((x, y), to_x or to_y, attributes, result)
            value = np.asarray(value)
        tensor: Tensor = _new(Tensor)  # from here on what ``output`` and ``recorded`` do
        tensor.array = value
        tensor.grad = None
        tensor._index = 0
        tensor._place = None
        tensor._listener = None
        tensor._hooks = None
        if not ((to_x or to_y) and _recording() and value.dtype.kind in "fc"):
            if tensors and value.dtype in _WIDE and of_whole_numbers(x, y):
                return promoted(x, y, attributes)
            tensor._node = None
            tensor.requires_grad = False
            return tensor
        tensor.requires_grad = True
        # One array under two Tensors, of which one may stand outside the tape: the long way.
        if type(vjps) is not tuple or len(vjps) != 2 or (a is b and x is not y):
            tensor._node = recorded(op, (x, y), value, vjps, attributes, 1, real=op.real)
            return tensor
        if op.real and ((to_x and a.dtype.kind == "c") or (to_y and b.dtype.kind == "c")):
            raise refused_complex(op)
        vjp_x, vjp_y = vjps
        read: list[SavedArray] = []
        given: list[SavedArray] = []
        if to_x:
            source = x._node
            first = (vjp_x, x if source is None else source, x._index, a.shape, a.dtype)
            # What is no function of Python's own has no cells.
            cells = vjp_x.__closure__ if type(vjp_x) is FunctionType else None
            if cells is not None:
                _add_read(cells, read, value, a, b)
        else:
            first = (None, a, CONSTANT, None, None)
        if to_y:
            source = y._node
            second = (vjp_y, y if source is None else source, y._index, b.shape, b.dtype)
            cells = vjp_y.__closure__ if type(vjp_y) is FunctionType else None
            if cells is not None:
                _add_read(cells, read, value, a, b)
        else:
            second = (None, b, CONSTANT, None, None)
        # What a second run would read besides results of other nodes.
        if type(a) is _ndarray and not (to_x and x._node is not None):
            if read and read[0][0] is a:
                given.append(read[0])
            else:
                given.append((a, a.tobytes() if a.nbytes <= WHOLE else large(a, False), 0))
        if type(b) is _ndarray and not (to_y and y._node is not None):
            if read and read[0][0] is b:
                given.append(read[0])
            else:
                given.append((b, b.tobytes() if b.nbytes <= WHOLE else large(b, False), 1))
        tensor._node = node = _new(Node)
        node.op = op
        node.edges = (first, second)
        node.joint = None
        node.attributes = attributes
        node.outputs = 1
        node.read = read or ()
        node.given = given or ()
        node.hooks = None
        node.origin = None
        node.sequence = next_number()
        return tensor

    return call

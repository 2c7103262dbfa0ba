"""Listens while a step runs, and writes down what it does, line by line.

The step is computed by the same bodies and closures as ever; what is written down is which, on
which values, in which order. A value is known by its array: that of an argument, of a parameter or
buffer, or one that the step has made. Any other would be stale at the next call, and is refused.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from types import FunctionType
from typing import Any, NoReturn

import numpy as np
from numpy.lib.array_utils import byte_bounds

from distgrad.autograd.anomaly import users_line
from distgrad.autograd.flat import gradient_held, held
from distgrad.autograd.mode import call_observer, fused_enabled, switched, watching
from distgrad.autograd.op import Op
from distgrad.autograd.parts import PartialGradient
from distgrad.autograd.record import LISTS
from distgrad.autograd.signature import explain
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.capture.backward import Backward
from distgrad.capture.guard import Form
from distgrad.capture.later import Later, now, with_later
from distgrad.capture.leaves import buffer_in_reach, persists
from distgrad.capture.lines import (
    Apply,
    Call,
    Constant,
    Line,
    Measured,
    Read,
    ReadGradient,
    ReadPart,
    View,
)
from distgrad.capture.tree import Leaf, Tree
from distgrad.capture.varying import opens
from distgrad.capture.whole import Whole
from distgrad.errors import CaptureError, DistgradError
from distgrad.nn import Module
from distgrad.nn.hooks import refuse_captured


class Recorder(Backward):
    """The lines of a step that is running, and which array is which value of theirs."""

    records = True
    entire = False

    def __init__(self, arguments: Sequence[Array], tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self.count = 0
        """How many values there are."""
        self.modules: dict[int, tuple[Module, bool]] = {}
        """The modules that were called, and whether they were training."""
        self.leaves: dict[int, Tensor] = {}
        """The parameters and buffers that were read."""
        self._names: dict[int, str] = {}  # of leaves, by ``id``
        self._named: set[int] = set()  # modules whose leaves have names
        self._arrays: dict[int, tuple[weakref.ref[Array], int]] = {}  # by ``id``
        self.given = frozenset(map(id, tensors))
        """The Tensors among the arguments, which outlive the step."""
        self._roots: list[tuple[weakref.ref[Array], int]] = []
        self._read: dict[int, int] = {}  # values of leaves since the last call, by ``id``
        self._grads: dict[int, tuple[weakref.ref[Array], Tensor]] = {}  # whose array is whose

        self._varying: set[int] = set()
        """Values whose lengths depend on values, and what is made of them."""
        self._masks: set[int] = set()
        self._measured: set[tuple[int, int]] = set()  # value, axis

        for array in arguments:
            self.argument(array)

    # -- values -----------------------------------------------------------------------------------

    def value(self, array: Any = None) -> int:
        """Return the number of a new value, known by ``array`` if that is one."""
        number = self.count
        self.count += 1
        if type(array) is np.ndarray and array.dtype == np.bool_:
            self._masks.add(number)
        if type(array) is np.ndarray and self.known(array) is None:
            self.stands_for(array, number)
        return number

    def argument(self, array: Array) -> int:
        """Return the number of a value that is there when the step begins, or never changes."""
        number = self.value(array)
        self._roots.append((weakref.ref(array), number))
        return number

    def _view(self, array: Array) -> int | None:
        """Return the number of an array that is a part of an argument; None if it is not."""
        low, high = byte_bounds(array)
        for ref, of in self._roots:
            root = ref()
            if root is None or root.dtype != array.dtype or not root.flags.c_contiguous:
                continue
            first, last = byte_bounds(root)
            if first <= low and high <= last and array.size:
                offset = array.ctypes.data - first
                number = self.value(array)
                self.add(View(of, array, offset, number), array)
                return number
        return None

    def stands_for(self, array: Array, number: int) -> None:
        """Note that ``array`` is value ``number``."""
        self._arrays[id(array)] = weakref.ref(array), number

    def known(self, array: Array) -> int | None:
        """Return the number of the value that ``array`` is."""
        found = self._arrays.get(id(array))
        return found[1] if found is not None and found[0]() is array else None

    def number_of(self, tensor: Tensor) -> int:
        """Return the number of a Tensor's value, which may have to be read first."""
        if (found := self._read.get(id(tensor))) is not None:
            return found
        with self.paused():
            array = tensor.array
        known = self.known(array)
        if known is not None and not persists(tensor):
            return known
        leaf = self._leaf_of(array)
        if leaf is not None:
            number = self.value()
            self.add(ReadGradient(f"gradient of {self.name_of(leaf)}", leaf, number), array)
            return number
        if not (persists(tensor) or self._is_buffer(tensor)):
            known = self._view(array) if known is None else known
            if known is not None:
                return known
            self.refuse_unknown(f"a Tensor of shape {tensor.shape}")
        number = self.value(array)
        self._read[id(tensor)] = number
        self.leaves[id(tensor)] = tensor
        self.add(Read(self.name_of(tensor), tensor, number), array)
        return number

    def shared(self, tensor: Tensor) -> None:
        """Note that another Tensor has the memory of ``tensor``: of a leaf it stands for it."""
        if tensor.is_leaf and (persists(tensor) or self._is_buffer(tensor)):
            self.number_of(tensor)

    def _is_buffer(self, tensor: Tensor) -> bool:
        """Whether a module has it for a buffer whose code is running, or was called in the step."""
        return buffer_in_reach(tensor) or any(
            tensor is buffer
            for module, _ in self.modules.values()
            for buffer in module.buffers(recurse=False)
        )

    def name_of(self, leaf: Tensor) -> str:
        """Return how messages call a parameter or buffer."""
        return self._names.get(id(leaf)) or f"a leaf of shape {leaf.shape}"

    def refuse_unknown(self, what: str) -> NoReturn:
        """Raise CaptureError for values that come from nowhere."""
        raise CaptureError(
            f"{users_line()}: {what} enters the captured step from outside, or was computed in it "
            f"outside of operations on Tensors, so that replays would use its present values for "
            f"ever. Pass it as an argument, register it as a buffer of a module, or compute it "
            f"with functions of distgrad (dg.arange(n) for np.arange(n), dg.tensor(x) / 255 for "
            f"x / 255)"
        )

    # -- lines ------------------------------------------------------------------------------------

    def add(self, line: Line, *written: Any, seconds: float = 0.0) -> None:
        """Write down a line that has just been run."""
        line.seconds = seconds
        line.forms = tuple(
            (a.shape, a.dtype, a.strides) if type(a) is np.ndarray else None for a in written
        )
        self.lines.append(line)
        if opens(line, self._varying, self._masks):
            self._varying.update(line.writes)

    def lengths_told(self, tensor: Tensor) -> Callable[..., None] | None:
        """Return whom to tell which lengths are read; None if they do not depend on values."""
        number = self.known(held(tensor))
        if number is None or number not in self._varying:
            return None
        shape = held(tensor).shape

        def told(*axes: int) -> None:
            new = [axis for axis in axes if (number, axis) not in self._measured]
            if new:
                self._measured.update((number, axis) for axis in new)
                self.add(Measured(number, {axis: shape[axis] for axis in new}, users_line()))

        return told

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write down nothing inside."""
        with switched(watching, None), switched(call_observer, None):
            yield

    def apply(self, op: Op, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
        """Apply an op and write it down (what ``Op.long`` does)."""
        inputs = [np.asarray(x) if type(x) in LISTS else x for x in inputs]
        for x in inputs:
            if isinstance(x, Later):
                x.refuse()
        given = Tree(tuple(inputs), self._as_array)
        settings = Tree(dict(attributes), self._as_array)
        inputs, attributes = [now(x) for x in inputs], {k: now(x) for k, x in attributes.items()}
        begun = perf_counter()
        with self.paused():
            arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
            attributes = op.bare(attributes)
            fused = None
            try:
                if op.fused is not None and not op.asked_from and fused_enabled.get():
                    fused = op.fused(*arrays, **attributes)
                result = op.function(*arrays, **attributes) if fused is None else fused
            except DistgradError:
                raise
            except (ValueError, IndexError, TypeError, OverflowError) as error:
                raise explain(op, arrays, error) from error
            record = any(isinstance(x, Tensor) and x.requires_grad for x in inputs)
            tensors = op.finished(inputs, record, attributes, result)
        made = [held(t) for t in _several(tensors)]
        seconds = perf_counter() - begun
        to, closures = [self.value(a) for a in made], self.value()
        written = to if type(tensors) is tuple else to[0]
        line = Apply(op, fused is not None, given, settings, written, closures)
        self.add(line, *made, None, seconds=seconds)
        node = next((t._node for t in _several(tensors) if t._node is not None), None)
        if node is not None:
            self.made[node] = closures, result[1]
        return tensors

    def apart(self, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Call a function that works beside the tape, and write the call down."""
        args = tuple([list(x) if isinstance(x, Iterator) else x for x in args])
        for x in (*args, *kwargs.values()):
            if isinstance(x, FunctionType) and x.__closure__:
                raise CaptureError(
                    f"{users_line()}: {x.__name__}(), which is given to {_called(function, args)}, "
                    f"would go on with the values of this call in every replay of the captured "
                    f"step: optimizers that call a closure are for uncaptured steps"
                )
        given = Tree((args, dict(kwargs)), self._as_given)
        begun = perf_counter()
        with self.paused():
            result = function(*map(now, args), **{k: now(x) for k, x in kwargs.items()})
        seconds = perf_counter() - begun
        self._read.clear()  # it may have given parameters other arrays
        if any(result is x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)):
            self.add(Call(_called(function, args), function, given, None), seconds=seconds)
            return result
        shown: list[Any] = []

        def new(x: Any) -> Leaf | None:
            if isinstance(x, Tensor):
                with self.paused():
                    array = x.array
                shown.append(array)
                return Leaf(self.value(array), True)
            if (
                isinstance(x, np.ndarray)
                or type(x) in {bool, int, float}
                or isinstance(x, np.generic)
            ):
                shown.append(x)
                return Leaf(self.value(x), False)
            return None

        results = Tree(result, new)
        line = Call(_called(function, args), function, given, results if results.numbers else None)
        self.add(line, *shown, seconds=seconds)
        return with_later(results.value, result)

    def whole(self, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Call a function that reads values, and write the call down as an op."""
        op = Whole(function, args, kwargs)
        given, op.given = op.given, []  # the program keeps the op, and would keep them
        outputs = self.apply(op, given, {})
        self.lines[-1].what += (op.form,)  # its settings are not among the op's inputs
        return op.shown(outputs)

    def after_backward(self, *what: Any) -> None:
        """Of a pass that is itself on the tape the ops have told."""

    def form(self, tensor: Tensor) -> Form:
        """Return what may be known of a Tensor's values."""
        return Form(held(tensor))

    def fixed(self, array: Array) -> None:
        """Note a constant of the step."""
        array = now(array)
        self.add(Constant(array, self.argument(array)), array)

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call what the engine tells of ``args`` (a listener, say), and write the call down."""
        given = Tree((args, {}), self._as_given)
        begun = perf_counter()
        with self.paused():
            function(*args)
        self.add(Call(name, function, given, None), seconds=perf_counter() - begun)

    def gradient_added(self, leaf: Tensor) -> None:
        """Note whose gradient an array is."""
        assert leaf.grad is not None
        with self.paused():
            array = leaf.grad.array
        self._grads[id(array)] = weakref.ref(array), leaf

    def gradient_read(self, leaf: Tensor, grad: Tensor | None) -> None:
        """Note that the step reads the gradient of a parameter, which may be there before it."""
        if not persists(leaf):
            return
        self.first_gradient(leaf, grad is None)
        if grad is not None:
            array = held(grad)
            self._grads[id(array)] = weakref.ref(array), leaf

    def _part(self, gradient: PartialGradient) -> int:
        """Return the number of a gradient that ranks share out: it is handed on itself."""
        leaf = self._leaf_of(held(gradient))
        if leaf is None:
            self.refuse_unknown(f"a gradient of shape {gradient.shape}")
        number = self.value()
        self.add(ReadPart(f"gradient of {self.name_of(leaf)}", leaf, number), None)
        return number

    def _leaf_of(self, gradient: Array) -> Tensor | None:
        """Return the leaf whose gradient an array is now."""
        ref, leaf = self._grads.get(id(gradient), (None, None))
        if leaf is None or ref is None or ref() is not gradient:
            return None
        grad = gradient_held(leaf)
        return leaf if grad is not None and held(grad) is gradient else None

    def entered(self, module: Module) -> None:
        """Note that a module is called. Errors: CaptureError if it has hooks."""
        for hook in module._hooks.values():
            refuse_captured(module, hook)
        self.modules.setdefault(id(module), (module, module.training))
        if id(module) not in self._named:  # the outermost names all that are inside
            self._named |= {id(m) for m in module.modules()}
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                self._names.setdefault(id(tensor), f"'{name}' of {type(module).__name__}")

    def left(self, module: Module) -> None:
        """Of what it has done the ops have told."""

    # -- what varies in arguments -----------------------------------------------------------------

    def _as_array(self, x: Any) -> Leaf | None:
        """Of what an op is given: whatever has an array."""
        if isinstance(x, Tensor):
            return Leaf(self.number_of(x), False)
        return self._as_given(x)

    def _as_given(self, x: Any) -> Leaf | None:
        if isinstance(x, Later):
            return Leaf(x.number, False)
        x = now(x)
        if isinstance(x, PartialGradient):
            return Leaf(self._part(x), False)
        if isinstance(x, Tensor):
            # A parameter is handed on itself: an optimizer's or a listener's.
            return None if persists(x) else Leaf(self.number_of(x), True)
        if isinstance(x, np.ndarray):
            known = self.known(x)
            known = self._view(x) if known is None else known
            if known is None and x.size != 1:
                self.refuse_unknown(f"an array of shape {x.shape}")
            return None if known is None else Leaf(known, False)
        return None


def _several(tensors: Any) -> tuple[Tensor, ...]:
    return tensors if isinstance(tensors, tuple) else (tensors,)


def _called(function: Callable[..., Any], args: Sequence[Any]) -> str:
    name = getattr(function, "__qualname__", repr(function))
    owner = name.rpartition(".")[0]
    if owner and args and not isinstance(args[0], Tensor):  # a method, by the object's own class
        return f"{type(args[0]).__name__}.{name.rpartition('.')[2]}"
    return name

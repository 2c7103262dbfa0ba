"""Clipping, and the norms it goes by, as machine-level calls: functions of ``optim.clip``."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import is_
from typing import Any

import numpy as np

from distgrad.autograd.apart import declared
from distgrad.autograd.neighbours import Neighbours, by_places
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.capture.asked import Beside, Spot, outside
from distgrad.capture.calls import Tape, Unlowered
from distgrad.capture.forms import Form
from distgrad.capture.lines import Call, Values
from distgrad.capture.tree import Leaf
from distgrad.nn import utils
from distgrad.optim import clip
from distgrad.optim.norms import BLOCK

_DOUBLE = np.dtype(np.float64)
NORMS: Collection[Callable[..., Any]] = {
    declared(clip.get_total_norm),
    declared(utils.get_total_norm),  # which returns a Tensor
}
"""Functions that are given Tensors and return their norm."""


def total_norm(tape: Tape, line: Call, known: Mapping[int, Form]) -> Form:
    """Return the norm that one of ``NORMS`` gives of values whose Forms are ``known``."""
    args, settings = line.args.value
    asked = _asked(line.function, args, settings)
    _refuse_other_norms(asked)
    tensors, *_ = asked.values()
    given = [tensors] if isinstance(tensors, Tensor | Leaf) else tensors
    forms = [known[x.number] for x in given if type(x) is Leaf]
    if not forms or len(forms) < len(given) or any(f.dtype.char not in "fd" for f in forms):
        raise Unlowered("norms of other arrays")
    squares, lanes = tape.new((len(forms),), _DOUBLE), _lanes(tape)
    for i, f in enumerate(forms):
        flat = (f if f.dense else f.copy()).reshape(f.size)
        _squares(tape, flat, np.array([0, f.size]), lanes, squares[i : i + 1])
    found: Form = tape.new((2,), _DOUBLE)
    _norm(tape, squares, np.arange(len(forms)), np.inf, found)
    norm = found[:1].reshape(())
    shown = line.forms[0]  # None of a number
    return norm if shown is None else norm.astype(shown[1])


class Clipping(Beside):
    """What changes the gradients of the parameters that are its first argument."""

    def __init__(self, spot: Spot) -> None:
        super().__init__(spot)
        args, settings = spot.line.args.value
        asked = _asked(spot.line.function, args, settings)
        # Its name is not the same where the function has PyTorch's.
        first, *_ = asked.values()
        given = [first] if isinstance(first, Tensor) else first
        params = [x[1] if type(x) is tuple else x for x in given]  # some have names
        if not all(isinstance(p, Tensor) for p in params):
            raise Unlowered("leaves that the step has made")
        having = [p for p in params if id(p) in spot.leaves]
        self._without = [p for p in params if id(p) not in spot.leaves]
        self.leaves, self._places = having, [p._place for p in having]
        self._emit(spot, asked)

    @abstractmethod
    def _emit(self, spot: Spot, asked: Mapping[str, Any]) -> None:
        """Put the calls on the tape. Errors: Unlowered."""

    def ready(self, steady: bool) -> bool:
        """Whether the calls would do what the line does."""
        if self._without and any(p.grad is not None for p in self._without):
            return False
        return steady or all(map(is_, [p._place for p in self.leaves], self._places))

    def done(self, v: Values) -> None:
        """Do what is left when the calls have run."""


class Clip(Clipping):
    """``clip_grad_norm_``."""

    def _emit(self, spot: Spot, asked: Mapping[str, Any]) -> None:
        _refuse_other_norms(asked)
        self._to = spot.line.writes
        form = spot.line.forms[0]  # None of a number, which the form with a plain result gives
        self._dtype = None if form is None else form[1]
        self._found = np.zeros(2)
        found = outside(spot.tape, self._found)
        grads = _together(self.leaves)
        _measure(spot.tape, grads, _number(asked["max_norm"]), found)
        _scale(spot.tape, grads, found)

    def done(self, v: Values) -> None:
        """Show the norm before clipping."""
        norm = float(self._found[0])
        for n in self._to:
            v[n] = norm if self._dtype is None else np.array(norm, self._dtype)


class ClipWithNorm(Clipping):
    """``clip_grads_with_norm_``: the norm is a number, or what the step has found it to be."""

    def _emit(self, spot: Spot, asked: Mapping[str, Any]) -> None:
        tape, given, plain = spot.tape, asked["total_norm"], spot.line.function not in _PYTORCHS
        if type(given) is Leaf:
            norm = spot.forms[given.number]
            if norm.size != 1 or norm.dtype.char not in "fd":
                raise Unlowered("a norm of another kind")
            if plain and given.number not in spot.numbers:
                raise Unlowered("arithmetic of Tensors")
            self.reads = [(given.number, norm)]
        elif plain and type(given) not in {int, float}:
            raise Unlowered("arithmetic of NumPy's numbers")
        else:
            norm = tape.constant(np.array(_number(given)))
        grads, found = _together(self.leaves), tape.new((2,), _DOUBLE)
        limit = tape.constant(np.array([_number(asked["max_norm"])]))
        tape.kernel("limited", norm.astype(_DOUBLE).reshape(1), limit, found)
        _scale(tape, grads, found)


class ClipLayers(Clipping):
    """``clip_layer_grad_norm_``."""

    def _emit(self, spot: Spot, asked: Mapping[str, Any]) -> None:
        _refuse_other_norms(asked)
        by_name: dict[str, list[Tensor]] = {}
        named, *_ = asked.values()
        for name, p in named:
            if id(p) in spot.leaves:
                layer = clip.layer_of(name) if asked["by"] == "layer" else name
                by_name.setdefault(layer, []).append(p)
        self._to = spot.line.writes
        self._found = np.zeros((len(by_name), 2))
        limit = _number(asked["max_norm"])
        layers = [_together(params) for params in by_name.values()]
        found = [outside(spot.tape, row) for row in self._found]
        # A parameter may stand in several: all are measured before one is changed.
        for grads, of_it in zip(layers, found, strict=True):
            _measure(spot.tape, grads, limit, of_it)
        for grads, of_it in zip(layers, found, strict=True):
            _scale(spot.tape, grads, of_it)

    def done(self, v: Values) -> None:
        """Show the norms before clipping."""
        for n, norm in zip(self._to, self._found[:, 0].tolist(), strict=True):
            v[n] = norm


class ClipValue(Clipping):
    """``clip_grad_value_``."""

    def _emit(self, spot: Spot, asked: Mapping[str, Any]) -> None:
        tape, most = spot.tape, _number(asked["clip_value"])
        if not most > 0:  # of 0 and -0 NumPy's clip keeps the sign that there is
            raise Unlowered("a limit of 0, or an error")
        for s in _together(self.leaves).stretches:
            if s.flat.dtype.kind != "f":
                raise Unlowered("an error")
            flat, dtype = outside(tape, s.flat), s.flat.dtype
            for ufunc, limit in ((np.maximum, -most), (np.minimum, most)):
                tape.elementwise(ufunc, [flat, tape.constant(np.array(limit, dtype))], flat)


CLIPPING: dict[Callable[..., Any], type[Clipping]] = {
    declared(clip.clip_grad_norm_): Clip,
    declared(utils.clip_grad_norm_): Clip,
    declared(clip.clip_grads_with_norm_): ClipWithNorm,
    declared(utils.clip_grads_with_norm_): ClipWithNorm,
    declared(clip.clip_layer_grad_norm_): ClipLayers,
    declared(clip.clip_grad_value_): ClipValue,
    declared(utils.clip_grad_value_): ClipValue,
}
_PYTORCHS = {declared(utils.clip_grads_with_norm_)}
"""Which take a norm that is a Tensor for the number that it is."""


def _asked(function: Callable[..., Any], args: Any, settings: Any) -> dict[str, Any]:
    given = inspect.signature(function).bind(*args, **settings)
    given.apply_defaults()
    return given.arguments


def _refuse_other_norms(asked: Mapping[str, Any]) -> None:
    if asked["norm_type"] != 2.0 or asked["error_if_nonfinite"]:
        raise Unlowered("another norm, or an error before anything is changed")


def _number(x: Any) -> float:
    """Return a setting that is the same in each replay. Errors: Unlowered."""
    if isinstance(x, Tensor | Leaf):
        raise Unlowered("a setting that varies")
    return float(x)


def _together(params: Iterable[Tensor]) -> Neighbours:
    """Return where the gradients are. Errors: Unlowered."""
    having = [*params]
    grads = by_places(having)
    if grads is None or not having:
        raise Unlowered("gradients elsewhere")
    return grads


def _measure(tape: Tape, grads: Neighbours, limit: float, found: Form) -> None:
    """Write the joint norm, and what clips to ``limit``."""
    numbers = [n for stretch in grads.stretches for n in stretch.numbers]
    squares, lanes, first = tape.new((len(numbers),), _DOUBLE), _lanes(tape), 0
    for s in grads.stretches:
        part = squares[first : first + len(s.numbers)]
        _squares(tape, outside(tape, s.flat), s.bounds, lanes, part)
        first += len(s.numbers)
    _norm(tape, squares, np.argsort(numbers), limit, found)


def _lanes(tape: Tape) -> Form:
    from distgrad.kernels import squares as kernels  # noqa: PLC0415 (numba)

    lanes: Form = tape.new((kernels.LANES,), _DOUBLE)
    return lanes


def _squares(tape: Tape, flat: Form, bounds: Array, lanes: Form, out: Form) -> None:
    from distgrad.kernels import squares as kernels  # noqa: PLC0415 (numba)

    tape.kernel(kernels.in_lanes, flat, tape.constant(bounds), BLOCK, lanes, out, writes=2)


def _norm(tape: Tape, squares: Form, order: Array, limit: float, found: Form) -> None:
    most = tape.constant(np.array([limit]))
    tape.kernel("joint_norm", squares, tape.constant(order.astype(np.int64)), most, found)


def _scale(tape: Tape, grads: Neighbours, found: Form) -> None:
    for s in grads.stretches:
        tape.kernel("clip", outside(tape, s.flat), found, out=0)

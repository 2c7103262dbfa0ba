"""``capture``: a step is recorded at its first call and replayed from then on."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from distgrad.autograd.mode import (
    call_observer,
    fused_enabled,
    grad_enabled,
    switched,
    watching,
)
from distgrad.autograd.tensor import Tensor
from distgrad.capture.arena import arena
from distgrad.capture.guard import Form, guarded
from distgrad.capture.later import Later
from distgrad.capture.program import Program
from distgrad.capture.recorder import Recorder
from distgrad.capture.tree import Leaf, Tree
from distgrad.errors import CaptureError
from distgrad.tracing import span, tracer

P = ParamSpec("P")
R = TypeVar("R")

_MOST = 8
_NOTHING: list[Program] = []


class CapturedStep(Generic[P, R]):
    """A function that is recorded at its first call with a signature, and replayed from then on.

    Programs are kept for ``most`` signatures: shapes, dtypes and strides of the arguments, modules
    in training or not, parameters frozen or not.
    """

    def __init__(self, function: Callable[P, R], most: int = _MOST) -> None:
        functools.update_wrapper(self, function)
        self.function, self.most = function, most
        self.program: Program | None = None
        """The program of the last call."""
        self._programs: dict[Any, list[Program]] = {}
        """Never changed, but replaced: other threads read it."""
        self._changing = threading.Lock()
        self._warned = False

    @property
    def programs(self) -> list[Program]:
        """All programs, of the last used signature last."""
        return [p for found in self._programs.values() for p in found]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the step: record it, or replay what was recorded.

        Errors: CaptureError for a step that cannot be captured, or does something else than when
        it was; it names the line.
        """
        if watching.get() is not None:  # a part of another step, or detect_anomaly looks
            return self.function(*args, **kwargs)
        arrays, key = _signature(args, kwargs)
        kept = self._programs.get(key, _NOTHING)
        for program in kept:
            if program.fits():
                break
        else:
            program = None
        if program is None or _due(program.calls):
            recorded: R = self._record(args, kwargs, arrays, key, kept, program)
            return recorded
        program.calls += 1
        self.program = program
        listener = tracer.get()
        if listener is None:
            result: R = program.run(arrays)
            return result
        # What ``span`` does; as a generator it would be a tenth of the shortest steps.
        listener.begin("captured step", _name(self.function))
        try:
            result = program.run(arrays)
        finally:
            listener.end("captured step")
        if program.steps:
            listener.stepped()
        return result

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Capture a method: one program for each object."""
        if instance is None:
            return self
        bound = CapturedStep(self.function.__get__(instance, owner), self.most)
        # Found by the next look-up, before this descriptor, which has no __set__.
        vars(instance)[self.function.__name__] = bound
        return bound

    def _record(
        self,
        args: Any,
        kwargs: Any,
        arrays: list[Any],
        key: Any,
        kept: list[Program],
        old: Program | None,
    ) -> Any:
        arena.make_room()
        recorder = Recorder(arrays, [*_tensors((args, kwargs))])
        with (
            span(_name(self.function), "recording"),
            guarded() as recorder.touched,
            switched(watching, recorder),
            switched(call_observer, recorder),
        ):
            result = self.function(*args, **kwargs)
        program = _program(_name(self.function), recorder, result)
        if old is not None and (what := old.difference(program)) is not None:
            raise CaptureError(
                f"{_name(self.function)} does something else than when it was captured, "
                f"{old.calls} calls ago: {what}. What changes from call to call has to be an "
                f"argument, a parameter or a buffer, or be done outside of the captured step"
            )
        if old is None:
            program.calls = 1
        else:
            program.goes_on_from(old)
        self._keep(key, kept, [*(p for p in kept if p is not old), program])
        self.program = program
        return _shown(result)

    def _keep(self, key: Any, before: list[Program], programs: list[Program]) -> None:
        """Keep the programs of a signature in place of those before; the oldest are dropped."""
        with self._changing:
            if self._programs.get(key, _NOTHING) is not before:
                return  # another thread has recorded the same meanwhile
            kept = {k: ps for k, ps in self._programs.items() if k != key} | {key: programs}
            dropped = False
            while sum(map(len, kept.values())) > self.most:
                dropped = True
                first = next(iter(kept))
                kept[first] = kept[first][1:]
                if not kept[first]:
                    del kept[first]
            self._programs = kept
            warned, self._warned = self._warned, self._warned or dropped
        if dropped and not warned:
            warnings.warn(
                f"{_name(self.function)} was captured for more than {self.most} signatures; "
                f"the oldest are dropped and recorded again when they come back. Pad batches "
                f"to one shape, leave uneven ones out (drop_last), or dg.capture(most=…)",
                RuntimeWarning,
                stacklevel=4,
            )


def capture(function: Callable[P, R] | None = None, *, most: int = _MOST) -> Any:
    """Record what ``function`` does, and replay the record from its second call on.

    The replay runs the same kernels in the same order into the same gradients, so it gives the
    same bits, without Tensors and without the tape. ``function`` is one step: forward, backward,
    clipping, optimizer, with ``DistributedDataParallel`` its sums over ranks, too. Its arguments
    are arrays and Tensors, also in lists, tuples and dictionaries; numbers, strings and None are a
    part of its signature. For each of up to ``most`` signatures there is one program;
    ``step.program`` is that of the last call, and can be printed.

    A step that reads values (``float(loss)``, ``if x > 0``, ``.item()``), or uses arrays that are
    no argument, parameter or buffer, is refused. Now and then (calls 2, 4, 8, …) it is recorded
    again and compared with what it was. A decorator, too: ``@dg.capture``.
    Errors: CaptureError, at the call.
    """
    if function is None:
        return functools.partial(capture, most=most)
    if not callable(function):
        raise TypeError(f"dg.capture takes the function of a step; got {type(function).__name__}")
    if most < 1:
        raise CaptureError(f"dg.capture(most={most}): a step needs one program at least")
    return CapturedStep(function, most)


def _due(calls: int) -> bool:
    return calls & (calls + 1) == 0  # 1, 3, 7, …: the calls after them are number 2, 4, 8, …


def _program(name: str, recorder: Recorder, result: Any) -> Program:
    def varies(x: Any) -> Leaf | None:
        if isinstance(x, Form):
            raise CaptureError(
                f"{name} returns the plain array of a Tensor, {x.dtype} {x.shape}, which a "
                f"captured step has not: return the Tensor, and write .numpy() of it outside"
            )
        if isinstance(x, Later):
            return Leaf(x.number, False)
        if isinstance(x, Tensor):
            return Leaf(recorder.number_of(x), True)
        if isinstance(x, np.ndarray):
            number = recorder.known(x)
            if number is None:
                recorder.refuse_unknown(f"an array of shape {x.shape}, which it returns,")
            return Leaf(number, False)
        return None

    tree = Tree(result, varies)
    modules = [*recorder.modules.values()]
    changed = next((m for m, training in modules if m.training is not training), None)
    if changed is not None:
        raise CaptureError(
            f"train() or eval() of {type(changed).__name__} is called inside the captured step, "
            f"whose replays would leave it out: call it outside"
        )
    leaves = [*recorder.leaves.values()]
    return Program(recorder.lines, recorder.count, tree, modules, leaves, recorder.had)


def _shown(result: Any) -> Any:
    """Return the result of a recording as that of a replay: Tensors outside the tape."""
    if isinstance(result, Later):
        return result.held
    if isinstance(result, Tensor):
        return result.detach()
    if type(result) in {list, tuple}:
        return type(result)([_shown(x) for x in result])
    if isinstance(result, tuple):
        shown = map(_shown, result)
        return type(result)(*shown) if hasattr(result, "_fields") else tuple(shown)
    if isinstance(result, dict):
        return {k: _shown(x) for k, x in result.items()}
    return result


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, list | tuple):
        for part in x:
            yield from _tensors(part)
    elif isinstance(x, dict):
        yield from _tensors([*x.values()])


def _signature(args: Any, kwargs: Any) -> tuple[list[Any], Any]:
    """Return the arrays among the arguments, and what must be equal for one program to do."""
    arrays: list[Any] = []
    key: list[Any] = [grad_enabled.get(), fused_enabled.get()]
    for x in args:
        if type(x) is np.ndarray:  # what most are, without a call
            arrays.append(x)
            key.append((x.shape, x.dtype, x.strides))
        else:
            key.append(_form(x, arrays))
    if kwargs:
        key.append(tuple([(k, _form(x, arrays)) for k, x in sorted(kwargs.items())]))
    if len(set(map(id, arrays))) != len(arrays):  # which ones are one
        key.append(tuple([next(i for i, a in enumerate(arrays) if a is x) for x in arrays]))
    return arrays, tuple(key)


def _form(x: Any, arrays: list[Any]) -> Any:
    if type(x) is np.ndarray:
        arrays.append(x)
        return x.shape, x.dtype, x.strides
    if isinstance(x, Tensor):
        array = x.array
        arrays.append(array)
        return array.shape, array.dtype, array.strides, x.requires_grad
    if isinstance(x, list | tuple):
        return type(x), tuple([_form(part, arrays) for part in x])
    if isinstance(x, dict):
        return dict, tuple([(k, _form(part, arrays)) for k, part in x.items()])
    try:
        hash(x)
    except TypeError:
        raise CaptureError(
            f"an argument of type {type(x).__name__} cannot be told from another: a captured "
            f"step takes arrays, Tensors, numbers and strings, and lists, tuples and dictionaries "
            f"of them"
        ) from None
    return type(x), x


def _name(function: Callable[..., Any]) -> str:
    name: str = getattr(function, "__qualname__", "") or repr(function)
    return name

"""The @op declaration: a function that returns its value and one gradient closure per input.

Everything else about an op (recording, NumPy dispatch, error messages, gradient checks, the fused
twin) is derived from this one declaration.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.methods.calls import FUNCTIONS, METHODS, UFUNCS
from distgrad.autograd.mode import fused_enabled, grad_enabled, recorder, watching
from distgrad.autograd.node import Joint
from distgrad.autograd.record import LISTS, NUMBERS, recorded, with_numbers
from distgrad.autograd.short import of_one, of_two
from distgrad.autograd.signature import explain
from distgrad.autograd.tensor import REDUCTIONS, Tensor, output, outputs
from distgrad.autograd.types import Array, Closure
from distgrad.autograd.unfit import array_of
from distgrad.errors import DistgradError, GradError, ShapeError

REGISTRY: dict[str, Op] = {}
"""Every declared op by name; the gradient checks and the documentation walk it."""
COMPOSED: dict[str, Callable[..., Any]] = {}
"""NumPy's functions that are computed from several ops, by name ("np.linalg.norm")."""
PLAIN: list[str] = []
"""NumPy's functions that work on Tensors and have no gradient, by name."""

Sample = tuple[Sequence[Any], dict[str, Any]]
"""One call of an op for its checks: positional inputs and keyword attributes."""

OpResult: TypeAlias = "tuple[Array, Closure | tuple[Closure | None, ...] | Joint | None]"
"""What a body returns: the value and a closure per input. Its Arrays may be Tensors (types.py)."""
OfSeveral: TypeAlias = "Callable[..., Array]"
OpResults: TypeAlias = "tuple[tuple[Array, ...], OfSeveral | tuple[OfSeveral | None, ...] | Joint]"
"""The same of several outputs, where a closure takes a gradient for each (None for zero)."""
Body: TypeAlias = "Callable[..., OpResult | OpResults]"


class Samples(Protocol):
    """Draws the calls an op is checked with."""

    def __call__(self, rng: np.random.Generator) -> Iterable[Sample]:
        """Yield (inputs, attributes); float64 inputs are differentiated."""


_ndarray = np.ndarray


class Op:
    """A differentiable function of arrays; calling it on Tensors records it."""

    def __init__(
        self,
        function: Callable[..., tuple[Any, Any]],
        signatures: tuple[str, ...],
        samples: Samples | None,
        domain: tuple[float, float],
        second_order: bool,
        real: bool = False,
        view: bool = False,
    ) -> None:
        parameters = inspect.signature(function).parameters.values()
        self.name = function.__name__.rstrip("_")
        self.__doc__ = function.__doc__
        self.function = function
        self.home: object = getattr(inspect.unwrap(function), "__globals__", None)
        self.fused: Callable[..., tuple[Any, Any] | None] | None = None
        self.asked_from = 0
        """Bytes of the first input from which the twin is asked, if its values have the body's bits
        and it reads memory in another way alone."""
        self.signatures = signatures
        self.samples = samples
        self.domain = domain
        self.second_order = second_order
        self.real = real
        self.view = view
        self.stands_for: list[str] = []
        """The NumPy functions and Tensor methods that reach it, by name."""
        self.inputs = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        """Whether it takes any number of inputs."""
        self.attribute_names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        plain = not (view or self.variadic or self.attribute_names)
        self.elementwise = plain and all(_names_no_axis(s) for s in signatures)
        """Whether its declaration says that each number of the result is one of each input."""

    def __repr__(self) -> str:
        return f"<op {self.name}: {' or '.join(self.signatures)}>"

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        """Compute the op; record it if an input requires gradients. Errors: ShapeError."""
        return self.long(*inputs, **attributes)

    def long(self, *inputs: Any, **attributes: Any) -> Any:  # noqa: PLR0912 (calls cost)
        """Compute the op with any number of inputs; ops of one and two have a short way too."""
        inputs = with_numbers(inputs)
        watch = watching.get()
        if watch is not None:
            if watch.records:
                return watch.apply(self, inputs, attributes)
            watch.before_forward(self)
        arrays = []
        record = False
        for x in inputs:
            if isinstance(x, Tensor):
                arrays.append(x.array)
                if x.requires_grad:
                    record = True
            elif type(x) in LISTS:  # no body meets one, and none is read later that may change
                return self.long(
                    *[array_of(v) if type(v) in LISTS else v for v in inputs], **attributes
                )
            else:
                arrays.append(x)
        for setting in attributes.values():
            if isinstance(setting, Tensor) or type(setting) in NUMBERS:
                attributes = self.bare(attributes)
                break
        result = None
        try:
            if self.fused is not None and not self.asked_from and fused_enabled.get():
                result = self.fused(*arrays, **attributes)
            if result is None:
                result = self.function(*arrays, **attributes)
        except DistgradError:
            raise
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            raise explain(self, arrays, error) from error
        return self.finished(inputs, record, attributes, result)

    def finished(
        self, inputs: Sequence[Any], record: bool, attributes: Mapping[str, Any], result: Any
    ) -> Any:
        """Return the Tensors of what the body returned, recorded if ``record`` and the mode say."""
        try:
            value, vjps = result if type(result) is tuple else ()
        except ValueError:
            raise _no_closures(self, result) from None
        several = type(value) is tuple
        if type(value) is not _ndarray and not several:
            value = np.asarray(value)
        node = None
        watch = watching.get()
        # Whole numbers and booleans have no gradient: nothing is recorded.
        if record and grad_enabled.get() and (several or value.dtype.kind in "fc"):
            count = len(value) if several else 1
            node = recorded(
                self,
                inputs,
                value,
                vjps,
                attributes,
                count,
                real=self.real,
                entire=watch is not None and watch.entire,
            )
        if watch is not None:
            arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
            watch.after_forward(self, arrays, attributes, value if several else (value,), node)
        if several:
            return outputs(value, node)
        return output(value, node, 0)

    def bare(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes as bodies and twins know them: Tensors as arrays, Python's numbers.

        Errors: GradError for one that requires a gradient.
        """
        return {
            name: x.item() if type(x) in NUMBERS else constant(x, self.name, name)
            for name, x in attributes.items()
        }


def _names_no_axis(signature: str) -> bool:
    return {part.strip() for part in signature.replace("->", ",").split(",")} == {"..."}


def _no_closures(op: Op, result: Any) -> GradError:
    return GradError(
        f"op {op.name} returned {_kind(result)}; it must return (value, closures): the value and "
        f"a function from the result's gradient to the input's for each of {', '.join(op.inputs)}"
    )


def _kind(result: Any) -> str:
    if isinstance(result, tuple):
        return f"a tuple of {len(result)}"
    return "nothing" if result is None else "its value alone"


class _OfOne(Op):
    """An op of one input, which takes the short way."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.short = of_one(self)

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        """Compute the op as ``Op`` does."""
        if len(inputs) == 1:
            return self.short(inputs[0], attributes)
        return self.long(*inputs, **attributes)


class _OfTwo(Op):
    """An op of two inputs, which takes the short way."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.short = of_two(self)

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        """Compute the op as ``Op`` does."""
        if len(inputs) == 2:
            return self.short(*inputs, attributes)
        return self.long(*inputs, **attributes)


_SHORT_WAYS = {1: _OfOne, 2: _OfTwo}


def _alias(a: Array) -> OpResult:
    """``a`` itself, as a tensor of its own on the tape."""
    return a, lambda g: g


# No member of the registry: a tool of the transforms, not an operation for users.
alias = _OfOne(_alias, ("... -> ...",), None, (-2.0, 2.0), True)


def op(
    *signatures: str,
    ufunc: np.ufunc | None = None,
    reduces: np.ufunc | None = None,
    function: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    method: str | Sequence[str] = (),
    samples: Samples | None = None,
    domain: tuple[float, float] = (-2.0, 2.0),
    second_order: bool = True,
    real: bool = False,
    view: bool = False,
) -> Callable[[Body], Op]:
    """Declare a differentiable operation.

    The decorated function takes arrays (positional) and settings (keyword-only); it returns the
    value and a closure ``g -> gradient`` for each positional input (None: not differentiable;
    a single closure for a single input). With several outputs (a tuple) a closure receives one
    gradient per output, in which None stands for zero. Broadcasting is undone by the engine.
    Gradients that share their work may come from one closure for all inputs, a ``Joint``.
    Written in ``np.*`` functions throughout, it gives gradients of every order: the body is run
    again on Tensors, which stand in wherever its annotations say ``Array``.

    ``signatures`` name the axes (``"m k, k n -> m n"``; ``...`` is any number of them). ``ufunc``,
    ``reduces`` and ``function`` are the NumPy functions it stands for, ``method`` the names of
    Tensor methods. ``samples`` draws calls for the gradient check; without it inputs are drawn
    from ``domain`` in shapes that fit the signatures. ``second_order=False`` says that the closures
    are not written in recordable functions: gradients of gradients raise GradError there. ``real``
    says that the closures are those of real numbers: complex Tensors that require gradients raise.
    ``view`` says that what comes out may share its memory with the input.
    """

    def declare(body: Body) -> Op:
        kinds = [p.kind for p in inspect.signature(body).parameters.values()]
        number = sum(k is not inspect.Parameter.KEYWORD_ONLY for k in kinds)
        variadic = inspect.Parameter.VAR_POSITIONAL in kinds
        way = Op if variadic else _SHORT_WAYS.get(number, Op)
        declared = way(body, signatures, samples, domain, second_order, real, view)
        old = REGISTRY.get(declared.name)
        # A notebook's cell that is run again declares its ops anew.
        if old is not None and not body.__module__ == old.function.__module__ == "__main__":
            raise ValueError(f"op '{declared.name}' is declared twice")
        REGISTRY[declared.name] = declared
        _connect(declared, ufunc, reduces, function, method)
        return declared

    return declare


def _connect(
    declared: Op,
    ufunc: np.ufunc | None,
    reduces: np.ufunc | None,
    function: Callable[..., Any] | Sequence[Callable[..., Any]],
    method: str | Sequence[str],
) -> None:
    names = declared.stands_for
    if ufunc is not None:
        UFUNCS[ufunc] = declared
        names.append(f"np.{ufunc.__name__}")
    if reduces is not None:
        over_axes = _as_numpy(declared)
        # ufunc.reduce takes axis 0 if none is named, the function of the same sum all of them.
        REDUCTIONS[reduces] = lambda a, **settings: over_axes(a, **{"axis": 0, **settings})
        names.append(f"np.{reduces.__name__}.reduce")
    for numpy_function in [function] if callable(function) else function:
        FUNCTIONS[numpy_function] = _as_numpy(declared)
        names.append(public_name(numpy_function))
    for name in [method] if isinstance(method, str) else method:
        METHODS[name] = declared
        names.append(name if name.startswith("__") else f".{name}()")
        if name == "__getitem__":
            setattr(Tensor, name, _by_index(declared))
        elif name.startswith("__"):
            assert isinstance(declared, _OfOne | _OfTwo)
            setattr(Tensor, name, _operator(declared, name))


def public_name(numpy_function: Callable[..., Any]) -> str:
    """Return the name users know a NumPy function by ("np.linalg.norm")."""
    module = getattr(numpy_function, "__module__", None) or "numpy"
    return f"np{module.removeprefix('numpy')}.{numpy_function.__name__}"


def _operator(declared: _OfOne | _OfTwo, name: str) -> Callable[..., Any]:
    # Installed over NumPy's mixin, which would take the long way round through the ufunc.
    if isinstance(declared, _OfOne):
        return declared.short
    short = of_two(declared, tensors=True, real=name.endswith("truediv__"))
    return (lambda self, other: short(other, self)) if name.startswith("__r") else short


def _by_index(declared: Op) -> Callable[..., Any]:
    assert isinstance(declared, _OfOne)
    short = declared.short
    return lambda self, index: short(self, {"index": index})


def _as_numpy(declared: Op) -> Callable[..., Any]:
    """Accept NumPy's calling convention: settings may follow the inputs by position."""
    count, names = len(declared.inputs), dict.fromkeys(declared.attribute_names)
    short = declared.short if isinstance(declared, _OfOne) else None

    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) >= count and kwargs.keys() <= names.keys():  # nothing to sort out
            if len(args) > count:
                kwargs.update(zip(names, args[count:], strict=False))
            if short is not None:
                return short(args[0], kwargs)
            return declared(*args[:count], **kwargs)
        attributes = {k: v for k, v in kwargs.items() if k not in declared.inputs}
        inputs = [*args[:count], *(kwargs[k] for k in declared.inputs[len(args) :] if k in kwargs)]
        attributes.update(zip(declared.attribute_names, args[count:], strict=False))
        unknown = set(attributes) - set(declared.attribute_names)
        if unknown:
            raise ShapeError(
                f"np.{declared.name} on a Tensor does not take {', '.join(sorted(unknown))}; "
                f"it takes {', '.join(declared.attribute_names) or 'no settings'}"
            )
        return declared(*inputs, **attributes)

    return call


_OF_FORMS = frozenset({np.can_cast, np.ndim, np.shape, np.size})
"""NumPy's functions that look at shape and dtype alone, which a recorded step may know."""
_OF_LENGTHS = frozenset({np.shape, np.size})
_KEEP_FORM = frozenset(
    {
        *(np.all, np.any, np.argmax, np.argmin, np.argpartition, np.argsort, np.count_nonzero),
        *(np.digitize, np.empty_like, np.full_like, np.isclose, np.iscomplex, np.isin),
        *(np.isneginf, np.isposinf, np.isreal, np.lexsort, np.ones_like, np.searchsorted),
        np.zeros_like,
    }
)
"""Those whose results have a shape and dtype that follow from the arguments', as ufuncs' do."""


def plain(*functions: Callable[..., Any]) -> None:
    """Let NumPy functions without a gradient (comparisons, argmax, …) work on Tensors' data.

    Arrays that come out are Tensors outside the tape, so that ``(x > 0).float()`` goes on.
    """

    def unwrapped(numpy_function: Callable[..., Any]) -> Callable[..., Any]:
        name = numpy_function.__name__
        steps = isinstance(numpy_function, np.ufunc)

        def call(*args: Any, **kwargs: Any) -> Any:
            bare = {k: _bare(v) for k, v in kwargs.items()}
            result = numpy_function(*(_bare(x) for x in args), **bare)
            if isinstance(result, np.ndarray) and result.dtype.kind in "fc" and not steps:
                # Real numbers that come from others: np.unique, weights of np.bincount.
                sources = [*(args[1:] if name.endswith("_like") else args), *kwargs.values()]
                for x in sources:
                    constant(x, f"np.{name}", "an argument")
            return _wrapped(result)

        if steps:
            call.ufunc = numpy_function  # type: ignore[attr-defined]  # for who records it
        if numpy_function in _OF_FORMS:
            return _telling(call) if numpy_function in _OF_LENGTHS else call
        return apart(keeps_form(call) if steps or numpy_function in _KEEP_FORM else call)

    for numpy_function in functions:
        table: dict[Any, Any] = UFUNCS if isinstance(numpy_function, np.ufunc) else FUNCTIONS
        table[numpy_function] = unwrapped(numpy_function)
        PLAIN.append(public_name(numpy_function))


def _telling(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a Tensor's lengths that lets a recorder know that they are read."""

    def told(*args: Any, **kwargs: Any) -> Any:
        if recorder() is not None:
            for x in (*args, *kwargs.values()):
                if isinstance(x, Tensor):
                    tuple(x.shape)
        return call(*args, **kwargs)

    return told


def constant(x: Any, function: str, name: str) -> Any:
    """Return ``x``, a Tensor as its array, that ``function`` has no gradient to.

    Errors: GradError, with the argument's ``name``, if it requires one.
    """
    if not isinstance(x, Tensor):
        return x
    if x.requires_grad and grad_enabled.get():
        raise GradError(
            f"{function} has no gradient to {name}, which requires one; pass .detach() of it if it "
            f"is meant as a constant"
        )
    recording = recorder()
    return x.array if recording is None else recording.form(x)


def _wrapped(result: Any) -> Any:
    """Arrays and NumPy's numbers as Tensors; shapes, dtypes and Python's numbers as they are."""
    if isinstance(result, np.ndarray | np.generic):
        return output(result, None, 0)
    if type(result) is tuple and result and isinstance(result[0], np.ndarray):
        return tuple([output(part, None, 0) for part in result])
    return result


def _bare(x: Any) -> Any:
    """``x`` with Tensors as arrays, inside lists and tuples too (np.lexsort's keys)."""
    if type(x) in {list, tuple}:
        return type(x)(_bare(v) for v in x)
    return x.array if isinstance(x, Tensor) else x


def as_method(*functions: Callable[..., Any]) -> None:
    """Let functions of a Tensor be what its method of the same name calls."""
    for function in functions:
        METHODS[getattr(function, "name", None) or function.__name__] = function


def dispatch(
    numpy_function: Callable[..., Any], of: Op | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Route a NumPy function on Tensors to a function of Tensors.

    It is composed from ops, or reads the call and hands it on to the one op it is ``of``.
    """

    def connect(composed: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS[numpy_function] = composed
        if of is None:
            COMPOSED[public_name(numpy_function)] = composed
        else:
            of.stands_for.append(public_name(numpy_function))
        return composed

    return connect

"""Which dtype comes out of two operands: every pair of dtypes, of numbers and of no axes."""

from __future__ import annotations

import itertools
import operator

import pytest

import distgrad as dg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf", "ignore::RuntimeWarning")

DTYPES = [
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]
TENSORS = [(dtype, shape) for dtype in DTYPES for shape in ((), (3,))]
NUMBERS = [True, 2, 2.5, 2j]
OPERATORS = [
    *(operator.add, operator.sub, operator.mul, operator.truediv),
    *(operator.floordiv, operator.mod, operator.pow),
]
OF_TWO = [
    *("add", "sub", "mul", "div", "floor_divide", "remainder", "fmod", "pow", "float_power"),
    *("maximum", "minimum", "fmax", "fmin", "atan2", "hypot", "copysign", "ldexp", "rsub"),
    *("logaddexp2", "xlogy", "gcd", "lcm", "bitwise_and", "outer", "kron", "block_diag"),
    *("eq", "lt", "ge", "logical_and", "result_type"),
]
OTHERS = {
    "where": lambda lib, a, b: lib.where(lib.ones(3, dtype=lib.bool), a, b),
    "x.where": lambda lib, a, b: a.where(lib.ones(3, dtype=lib.bool), b),
    "cat": lambda lib, a, b: lib.cat([a, b]),
    "stack": lambda lib, a, b: lib.stack([a, b, a]),
    "hstack": lambda lib, a, b: lib.hstack([a, b]),
    "clamp": lambda lib, a, b: lib.clamp(a, b, b),
    "x.clip": lambda lib, a, b: a.clip(max=b),
    "addcmul": lambda lib, a, b: lib.addcmul(a, b, b),
    "mse_loss": lambda lib, a, b: lib.nn.functional.mse_loss(a, b),
    "l1_loss": lambda lib, a, b: lib.nn.functional.l1_loss(a, b),
    "smooth_l1_loss": lambda lib, a, b: lib.nn.functional.smooth_l1_loss(a, b),
}


def made(lib, operand):
    """A number as it is, a dtype and a shape as a tensor of ones."""
    if not isinstance(operand, tuple):
        return operand
    dtype, shape = operand
    return lib.ones(shape, dtype=getattr(lib, dtype))


def dtype_of(lib, function, *operands) -> str:
    """The name of the dtype, "refused" where PyTorch has no result (or half of a complex one)."""
    try:
        result = function(*[made(lib, operand) for operand in operands])
    except (RuntimeError, TypeError, NotImplementedError, ValueError, dg.DistgradError):
        return "refused"
    name = str(getattr(result, "dtype", result)).removeprefix("torch.")
    return "refused" if name == "complex32" else name


def different(pairs, function_in):
    """What differs from PyTorch among the pairs for which PyTorch has a result."""
    wrong = []
    for pair in pairs:
        expected = dtype_of(torch, function_in(torch), *pair)
        if expected != "refused":
            found = dtype_of(dg, function_in(dg), *pair)
            wrong += [(*pair, expected, found)] * (found != expected)
    return wrong


@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
def test_operators_promote_as_pytorchs(function):
    pairs = itertools.product([*TENSORS, *NUMBERS], repeat=2)
    pairs = [p for p in pairs if any(isinstance(x, tuple) for x in p)]
    wrong = different(pairs, lambda lib: function)
    # NumPy has no powers of booleans: they are small whole numbers.
    powers = [(("bool", shape), True, "bool", "int8") for shape in ((), (3,))]
    assert wrong == (powers if function is operator.pow else [])


@pytest.mark.parametrize("name", OF_TWO)
def test_functions_promote_as_pytorchs(name):
    vectors = [x for x in TENSORS if x[1]]
    assert different(itertools.product(vectors, vectors), lambda lib: getattr(lib, name)) == []


@pytest.mark.parametrize("name", OTHERS)
def test_what_takes_several_tensors_promotes_as_pytorchs(name):
    vectors = [x for x in TENSORS if x[1]]

    def function_in(lib):
        return lambda a, b: OTHERS[name](lib, a, b)

    assert different(itertools.product(vectors, vectors), function_in) == []


def test_promote_types_is_pytorchs():
    for a, b in itertools.product(DTYPES, repeat=2):
        expected = str(torch.promote_types(getattr(torch, a), getattr(torch, b)))
        if expected != "torch.complex32":
            found = dg.promote_types(getattr(dg, a), getattr(dg, b))
            assert (a, b, f"torch.{found}") == (a, b, expected)

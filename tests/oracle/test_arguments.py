"""What PyTorch's users type beside the plain call: out=, dtypes, axes, numbers for tensors."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from op_db import _converted
from oracle import torch

import distgrad as dg

NAMESPACES = {"": (torch, dg), **{n: (getattr(torch, n), getattr(dg, n)) for n in
              ("linalg", "fft", "special")}}  # fmt: skip
# PyTorch's documentation names an out= in these, which the functions do not take.
SLIPS = {"hamming_window", "histogramdd", "squeeze", "unsqueeze", "conj", "imag", "real"}
SLIPS |= {"positive", "resolve_conj", "resolve_neg"}
SLIPS |= {f"{name}_like" for name in ("empty", "ones", "zeros", "rand", "randn")}


def _say_out():
    for title, (theirs, ours) in NAMESPACES.items():
        for name, found in vars(ours).items():
            documented = getattr(getattr(theirs, name, None), "__doc__", None) or ""
            said = inspect.isfunction(found) and "out=None" in documented.split("\n\n")[0]
            if said and name not in SLIPS:
                yield f"{title}.{name}".lstrip("."), found


@pytest.mark.parametrize(("name", "function"), list(_say_out()))
def test_what_takes_out_in_pytorch_takes_it_here(name, function):
    named = set()
    while function is not None:  # the function, or one that is wrapped around it
        code = function.__code__
        named |= {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}
        function = getattr(function, "__wrapped__", None)
    assert "out" in named


SAME = """
torch.add(torch.ones(2), torch.ones(2, dtype=torch.int64), alpha=0.5).tolist()
torch.add(torch.ones(2), torch.tensor([200, 1], dtype=torch.uint8), alpha=2)
torch.sub(torch.ones(2), torch.tensor([200, 1], dtype=torch.uint8), alpha=2)
torch.rsub(torch.tensor([200, 1], dtype=torch.uint8), torch.ones(2), alpha=2)
torch.add(torch.ones(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool), alpha=2)
torch.heaviside(torch.tensor([float("nan"), -1.0, 0.0]), torch.tensor([5.0]))
torch.sum(torch.ones(3), dtype=torch.bool)
torch.nansum(torch.ones(3), dtype=torch.bool)
torch.prod(torch.ones(3), dtype=torch.bool)
torch.all(torch.tensor([[1.0, 0, 2]]), dim=())
torch.any(torch.tensor([[1.0, 0, 2]]), dim=())
torch.sum(torch.tensor([[1.0, 0, 2]]), dim=())
torch.trace(torch.ones(3, 3, dtype=torch.uint8))
torch.linalg.vander(torch.tensor([1, 20, 3], dtype=torch.uint8))
torch.relu(torch.tensor([-1, 0, 3]))
torch.relu(torch.tensor([-1, 0, 3], dtype=torch.int8))
torch.unique(torch.tensor([float("nan"), 1.0, float("nan")]), return_counts=True)
torch.unique_consecutive(torch.zeros(0), return_inverse=True, return_counts=True)
torch.unique_consecutive(torch.zeros(0, 3))
torch.histogram(torch.zeros(0), 2)
torch.fft.irfft(torch.zeros(3, 0, dtype=torch.complex64), n=8)
torch.fft.irfftn(torch.zeros(3, 0), s=[8])
torch.linalg.cholesky_ex(torch.full((3, 3), float("nan"))).info
torch.masked_fill(torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([True, False]), 3)
torch.masked_fill(torch.tensor([True, False]), torch.tensor([True, False]), 0)
torch.masked_fill(torch.tensor([1, 2]), torch.tensor([True, False]), -1.5)
torch.index_fill(torch.tensor([1, 2]), 0, torch.tensor([0]), 2.5)
torch.select_scatter(torch.tensor([1, 2, 3]), torch.tensor(2.5), 0, 1)
torch.diagonal_scatter(torch.ones(3, 3, dtype=torch.int64), torch.tensor([1.5, 2.5, 3.5]))
torch.where(torch.tensor([True, False]), 1.0, 0)
torch.where(torch.tensor([True, False]), 1, 0)
torch.where(torch.tensor([True, False]), True, False)
torch.tensor([1j, 2])
torch.tensor([np.float64(3)])
torch.tensor([[np.float32(3), np.float32(4)]])
torch.full((2,), 1j)
torch.full((), 2.5)
torch.arange(end=3)
torch.arange(start=1, end=3)
torch.linspace(1j, 1, 3)
torch.arange(3, out=torch.zeros(0))
torch.arange(3, out=torch.zeros(3, dtype=torch.int32))
torch.zeros(2, 3, out=torch.ones(2, 3, dtype=torch.int64))
torch.eye(2, out=torch.ones(2, 2))
torch.max(torch.tensor([1.0, 3, 2]), 0, out=(torch.empty(()), torch.empty((), dtype=torch.int64)))
torch.sin(torch.zeros(1, 0, 3), out=torch.zeros(0))
torch.linalg.inv(torch.eye(3), out=torch.zeros(3, 3))
torch.fft.fft(torch.ones(3), out=torch.zeros(3, dtype=torch.complex128))
torch.randperm(0, out=torch.zeros(0, dtype=torch.int64))
"""


@pytest.mark.parametrize("call", SAME.strip().splitlines())
def test_the_same_comes_out(call):
    theirs, ours = (eval(call, {"torch": lib, "np": np}) for lib in (torch, dg))
    _same(ours, theirs)


def _same(ours, theirs):
    if isinstance(theirs, tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            _same(a, b)
    elif isinstance(theirs, torch.Tensor):
        wanted = _converted(theirs, {})
        assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(ours.array, wanted.array, rtol=1e-6)
    else:
        assert ours == theirs


REFUSED = """
erf(c): real
erfc(c): real
lgamma(c): real
digamma(c): real
polygamma(1, c): real
mvlgamma(c, 2): real
igamma(c, c): real
erfinv(c): real
i0(c): real
logit(c): real
deg2rad(c): real
relu(c): real
amax(c): real
amin(c): real
max(c): real
min(c, 0): real
argmax(c): real
cummax(c, 0): real
softmax(c, 0): real
log_softmax(c, 0): real
hypot(c, c): real
atan2(c, c): real
copysign(c, x): real
xlogy(c, x): real
special.i0e(c): real
special.ndtr(c): real
special.entr(c): real
special.ndtri(c): real
special.zeta(c, x): real
special.bessel_j0(c): real
special.legendre_polynomial_p(c, 2): real
randn(2, dtype=torch.int64): real
rand_like(i): real
i.clone().float().long().normal_(): real
floor_divide(i, 0): by 0
remainder(i, 0): by 0
fmod(i, 0): by 0
div(i, 0, rounding_mode="trunc"): by 0
meshgrid(m, x): vectors
cartesian_prod(m): vectors
flip(torch.tensor(1.0), (0, 1)): axis 1
movedim(torch.tensor(1.0), 3, 0): axis 3
sort(torch.tensor(1.0), dim=-3): axis -3
chunk(x, 2, dim=None): one axis
split(x, 2, dim=(0, 1)): one axis
topk(x, 1, dim=(0,)): one axis
kthvalue(x, 1, dim=(0, 0)): one axis
sort(x, dim=()): one axis
median(x, dim=()): one axis
cumsum(x, (0,)): one axis
softmax(x, (0,)): one axis
unique(x, dim=(0,)): one axis
trapezoid(x, dim=None): one axis
eq(x, torch.ones(2)): do not broadcast
logical_and(x, torch.ones(2)): do not broadcast
bitwise_or(i, torch.ones(2, dtype=torch.int64)): do not broadcast
isclose(x, torch.ones(2)): do not broadcast
linalg.cross(m, torch.ones(2, 3)): do not broadcast
normal(x, torch.ones(2)): do not broadcast
broadcast_to(m, (3,)): fewer axes
zeros(-1): ≥ 0
zeros(2.5): whole numbers
zeros((2, 3), 4): whole numbers
eye(-1): ≥ 0
linspace(0, 1, -1): steps
linspace(x, 1, 3): no axis
arange(0, 3, 0): step
tensor("a"): holds numbers
tensor(None): holds numbers
tensor({1: 2}): holds numbers
tensor([2**70]): holds numbers
masked_fill(i.byte(), i > 0, 300): 0 to 255
masked_fill(i, i > 0, float("nan")): does not go
poisson(-x): negative
fft.fftshift(x, 3): axis 3
linalg.matrix_rank(torch.ones(2, 3), hermitian=True): square
linalg.lu_solve(m, torch.tensor([0, 1, 2]), m): from 1 to 3
linalg.lu_solve(m, torch.tensor([1]), m): do not fit
fft.fft(x, dim=(0,)): one axis
heaviside(x, torch.ones(2)): do not broadcast
gcd(i, torch.tensor([1, 2])): do not broadcast
nextafter(c, x): real
masked_scatter(x, torch.tensor([True, False]), x): do not broadcast
special.hermite_polynomial_h(x, torch.ones(2)): do not broadcast
take_along_dim(m, torch.zeros(2, 2, dtype=torch.int64), 0): do not broadcast
scatter_reduce(c, 0, i - 1, c, "amax"): real
repeat_interleave(x, 2, dim=(0, 1)): one axis
diagonal_scatter(m, x, dim2=5): axis 5
tensor_split(x, 2.0): whole numbers
max(torch.ones(0)): no element
sin(x, out=torch.zeros(3, dtype=torch.int64)): int64
sin(x, out=1): is a Tensor
max(x, 0, out=torch.zeros(3)): tuple of 2
arange(3, out=torch.zeros(2)): out= has shape
"""


@pytest.mark.parametrize("line", REFUSED.strip().splitlines())
def test_what_pytorch_refuses_is_refused_here_with_a_reason(line):
    call, _, reason = line.rpartition(": ")
    for lib in (torch, dg):
        names = {
            "torch": lib,
            "c": lib.complex(lib.ones(3), lib.ones(3)),
            "x": lib.tensor([1.0, 2, 3]),
            "i": lib.tensor([1, 2, 3]),
            "m": lib.ones(3, 3),
        }
        what = call if call.startswith("i.") else f"torch.{call}"
        if lib is torch:
            if not call.endswith(("out=torch.zeros(2))", "lower(3)")):  # resized, with a warning
                with pytest.raises((RuntimeError, TypeError, ValueError, IndexError)):
                    eval(what, names)
        else:
            with pytest.raises((dg.DistgradError, TypeError), match=reason):
                eval(what, names)


def test_a_named_result_keeps_its_names_under_out():
    out = dg.zeros(()), dg.zeros((), dtype=dg.int64)
    assert dg.max(dg.tensor([1.0, 3, 2]), 0, out=out).indices is out[1]


def test_complex_normal_numbers_have_both_parts_and_variance_1():
    dg.manual_seed(1)
    drawn = dg.randn(3000, dtype=dg.complex64)
    assert drawn.dtype == np.complex64
    parts = np.array([drawn.array.real.var(), drawn.array.imag.var()])
    np.testing.assert_allclose(parts, 0.5, atol=0.05)


def test_memory_goes_to_pytorch_and_comes_back_without_a_copy():
    ours = dg.tensor([1.0, 2, 3])
    theirs = torch.from_dlpack(ours)
    theirs[0] = 9
    assert ours[0].item() == 9
    assert dg.from_dlpack(theirs).array.ctypes.data == ours.array.ctypes.data
    assert torch.tensor(ours).tolist() == torch.as_tensor(ours).tolist() == [9, 2, 3]
    with pytest.raises(BufferError, match="gradient"):
        dg.from_dlpack(torch.ones(3, requires_grad=True))

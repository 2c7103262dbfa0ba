"""Every fused twin against its reference: values and gradients, float32 and float64."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import cases, cast, is_float, values_and_gradients

import distgrad as dg
from distgrad import Tensor, kernels, ops
from distgrad.autograd import REGISTRY

pytest.importorskip("numba", reason="numba is not installed: there are no twins")

TOLERANCE = {np.float32: 3e-5, np.float64: 1e-10}
LARGER = {  # beyond the samples: sizes that are no multiple of a vector or of a block
    "avg_pool": lambda r: (
        [np.moveaxis(r.normal(size=(3, 31, 17, 5)), -1, 1)],
        {"kernel_size": 3, "stride": 2, "padding": 1},
    ),
    "batch_norm": lambda r: ([r.normal(size=(5, 3, 13, 11)) + 3, None, r.normal(size=3)], {}),
    "convolution": lambda r: (
        [r.normal(size=(3, 5, 41, 37)), r.normal(size=(7, 5, 3, 3)), r.normal(size=7)],
        {"padding": 1},
    ),
    "convolution_transpose": lambda r: (
        [r.normal(size=(3, 7, 21, 19)), r.normal(size=(7, 5, 3, 3)), r.normal(size=5)],
        {"size": (41, 37), "stride": 2, "padding": 1},
    ),
    "cross_entropy": lambda r: (
        [30 * r.normal(size=(37, 67)), r.integers(0, 67, 37)],
        {"label_smoothing": 0.1},
    ),
    "dropout": lambda r: ([r.normal(size=(37, 67)), r.random((37, 67)) < 0.5], {"p": 0.5}),
    "embedding": lambda r: ([r.integers(0, 19, (7, 31)), r.normal(size=(19, 33))], {}),
    "gelu": lambda r: ([8 * r.normal(size=(37, 67))], {}),
    "gelu_tanh": lambda r: ([8 * r.normal(size=(37, 67))], {}),
    "layer_norm": lambda r: ([r.normal(size=(37, 67)) - 2, r.normal(size=67), None], {}),
    "max_pool": lambda r: ([r.normal(size=(3, 5, 31, 17))], {"kernel_size": 3, "stride": 2}),
    "relu": lambda r: ([r.normal(size=(37, 67))], {}),
    "scaled_dot_product_attention": lambda r: (
        [*(r.normal(size=(2, 3, 67, 16)) for _ in range(3)), None],
        {"is_causal": True},
    ),
    "log_softmax": lambda r: ([30 * r.normal(size=(37, 67))], {"axis": -1}),
    "softmax": lambda r: ([30 * r.normal(size=(37, 67))], {"axis": -1}),
}
every_twin = pytest.mark.parametrize("op", kernels.TWINS, ids=lambda o: o.name)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])


def compare(op, inputs, settings, dtype):
    inputs = cast(inputs, dtype)
    found = values_and_gradients(op, inputs, settings)
    with dg.reference_kernels():
        wanted = values_and_gradients(op, inputs, settings)
    for f, w in zip(found, wanted, strict=True):
        assert (f.dtype, f.shape) == (w.dtype, w.shape)
        scale = max(1.0, float(np.abs(w).max()))
        np.testing.assert_allclose(f, w, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


@every_twin
@both_dtypes
def test_it_equals_its_reference_on_the_ops_samples(op, dtype):
    for inputs, settings in cases(op):
        compare(op, inputs, settings, dtype)


@every_twin
@both_dtypes
def test_it_runs_and_equals_its_reference_on_awkward_sizes(op, dtype):
    inputs, settings = LARGER[op.name](np.random.default_rng(8))
    compare(op, inputs, settings, dtype)
    assert op.fused(*cast(inputs, dtype), **settings) is not None


@every_twin
def test_it_takes_strided_and_read_only_inputs(op):
    inputs, settings = LARGER[op.name](np.random.default_rng(9))

    def awkward(x):
        if not is_float(x):
            return x
        strided = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), np.float32)[..., ::2]
        strided[...] = x
        strided.flags.writeable = False
        return strided

    compare(op, [awkward(x) for x in inputs], settings, np.float32)


@every_twin
def test_two_calls_give_the_same_bits_and_leave_the_first_ones_results_alone(op):
    inputs, settings = LARGER[op.name](np.random.default_rng(10))
    inputs = cast(inputs, np.float32)
    first = values_and_gradients(op, inputs, settings)
    copies = [f.copy() for f in first]
    second = values_and_gradients(op, inputs, settings)
    for f, c, s in zip(first, copies, second, strict=True):
        np.testing.assert_array_equal(f, c)
        np.testing.assert_array_equal(s, c)


@every_twin
def test_it_leaves_other_dtypes_to_the_reference(op):
    inputs, settings = LARGER[op.name](np.random.default_rng(8))
    assert op.fused(*cast(inputs, np.float16), **settings) is None


@every_twin
def test_a_nan_is_not_lost(op):
    inputs, settings = LARGER[op.name](np.random.default_rng(8))
    first = next(x for x in inputs if is_float(x))
    first[(0,) * first.ndim] = np.nan
    if op is ops.embedding:
        inputs[0] = np.zeros_like(inputs[0])
    value = op(*cast(inputs, np.float32), **settings)
    value = value[0] if isinstance(value, tuple) else value
    assert np.isnan(value.array).any() or (op is ops.dropout and not inputs[1][0, 0])


def test_batch_norm_passes_gradients_to_its_statistics_on():
    x = Tensor(np.random.default_rng(1).normal(size=(4, 3)), requires_grad=True)
    results = []
    for mode in (dg.enable_grad, dg.reference_kernels):
        with mode():
            _, mean, var = ops.batch_norm(x, None, None)
            (mean.sum() + (var * var).sum()).backward()
        results.append(x.grad.array)
        x.grad = None
    np.testing.assert_allclose(*results, rtol=1e-12)


def test_second_gradients_come_from_the_reference():
    x = np.random.default_rng(1).normal(size=(3, 4))
    dg.gradcheck(ops.gelu_tanh, [x], second=True)


def test_every_twin_is_declared_once_and_has_an_awkward_case():
    assert {o.name for o in kernels.TWINS} == set(LARGER)
    assert {name for name, o in REGISTRY.items() if o.fused} == set(LARGER)

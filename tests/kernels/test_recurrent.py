"""The recurrences' twins against their references: sizes, what is wanted, what travels where."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from op_cases import values_and_gradients

import distgrad as dg
from distgrad import Tensor, nn, ops
from distgrad.autograd import grad

pytest.importorskip("numba", reason="numba is not installed: there are no twins")

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "lstm_projected": 4}
SIZES = [
    (1, 1, 1, 2),
    (1, 3, 2, 5),
    (40, 1, 3, 17),
    (3, 300, 5, 7),
    (17, 33, 1, 40),
    (300, 2, 2, 3),
]
every_kind = pytest.mark.parametrize("name", GATES)
both_ways = pytest.mark.parametrize("reverse", [False, True])


def inputs_of(name, t, b, i, h, dtype=np.float64, seed=0, biases=(True, True)):
    """An op's inputs: x, states, W_ih, W_hh, biases, and W_hr of a projection to h - 1."""
    r, gates = np.random.default_rng(seed), GATES[name]
    p = h - 1 if name == "lstm_projected" else h
    shapes = [(t, b, i), (b, p), *([(b, h)] if gates == 4 else [])]
    found = [r.normal(size=s) for s in shapes]
    found += [r.normal(size=(gates * h, n)) * n**-0.5 for n in (i, p)]
    found += [r.normal(size=gates * h) if there else None for there in biases]
    if name == "lstm_projected":
        found.append(r.normal(size=(p, h)) * h**-0.5)
    return [None if x is None else x.astype(dtype) for x in found]


def compare(name, inputs, settings, dtype):
    op = getattr(ops, name)
    assert op.fused(*inputs, **settings) is not None
    found = values_and_gradients(op, inputs, settings)
    with dg.reference_kernels():
        wanted = values_and_gradients(op, inputs, settings)
    for f, w in zip(found, wanted, strict=True):
        assert (f.dtype, f.shape) == (w.dtype, w.shape)
        tolerance = 5e-5 if dtype is np.float32 else 1e-10
        np.testing.assert_allclose(f, w, rtol=tolerance, atol=tolerance * max(1, np.abs(w).max()))


@every_kind
@both_ways
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_all_sizes_equal_the_reference(name, reverse, dtype, sizes):
    compare(name, inputs_of(name, *sizes, dtype), {"reverse": reverse}, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@both_ways
def test_relu_equals_the_reference(dtype, reverse):
    settings = {"nonlinearity": "relu", "reverse": reverse}
    compare("rnn", inputs_of("rnn", 17, 5, 3, 9, dtype), settings, dtype)


@every_kind
@pytest.mark.parametrize("biases", [*itertools.product([False, True], repeat=2)], ids=str)
def test_either_bias_may_be_missing(name, biases):
    compare(name, inputs_of(name, 5, 3, 2, 4, biases=biases), {}, np.float64)


def gradients(name, inputs, wanted, outputs):
    tensors = [
        x if x is None else Tensor(x, requires_grad=i in wanted) for i, x in enumerate(inputs)
    ]
    results = getattr(ops, name)(*tensors)
    results = results if isinstance(results, tuple) else (results,)
    total = sum(np.sum(results[i] * results[i]) for i in outputs)
    return [g.array for g in grad(total, [tensors[i] for i in wanted])]


@every_kind
def test_every_input_alone_and_every_output_alone(name):
    inputs = inputs_of(name, 18, 3, 2, 4)
    outputs = [(0,), (1,), (0, 1)] if GATES[name] == 4 else [(0,)]
    for used, number in itertools.product(outputs, range(len(inputs))):
        found = gradients(name, inputs, [number], used)
        with dg.reference_kernels():
            wanted = gradients(name, inputs, [number], used)
        np.testing.assert_allclose(
            found, wanted, rtol=1e-9, atol=1e-11, err_msg=f"{used}, {number}"
        )


@every_kind
@both_ways
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_with_its_sequence_and_its_steps(name, reverse, value):
    inputs = inputs_of(name, 6, 3, 2, 4, np.float32)
    clean = getattr(ops, name).fused(*inputs, reverse=reverse)[0]
    inputs[0][2, 1, 0] = value
    found = getattr(ops, name).fused(*inputs, reverse=reverse)[0]
    with np.errstate(invalid="ignore"):
        wanted = getattr(ops, name).function(*inputs, reverse=reverse)[0]
    if GATES[name] == 4:
        (clean, _), (found, _), (wanted, _) = clean, found, wanted
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[:, [0, 2]], clean[:, [0, 2]])
    before = slice(3, None) if reverse else slice(2)
    np.testing.assert_array_equal(found[before], clean[before])
    if np.isnan(value):
        assert np.isnan(found[:3] if reverse else found[2:])[:, 1].all()


@every_kind
def test_a_nan_in_the_gradient_reaches_the_weights(name):
    inputs = inputs_of(name, 4, 3, 2, 4, np.float32)
    value, joint = getattr(ops, name).fused(*inputs)
    several = isinstance(value, tuple)
    g = np.ones_like(value[0] if several else value)
    g[1, 0] = np.nan
    found = joint.function((True,) * len(inputs), g, *([None] if several else []))
    assert all(np.isnan(f).any() for f in found)


@every_kind
def test_states_of_one_sequence_are_not_written_to(name):
    inputs = inputs_of(name, 4, 1, 2, 4)
    copies = [x.copy() for x in inputs]
    values_and_gradients(getattr(ops, name), inputs, {})
    for x, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(x, copy)


@every_kind
def test_backward_twice_gives_the_same_bits(name):
    tensors = [Tensor(x, requires_grad=True) for x in inputs_of(name, 18, 3, 2, 4)]
    y = getattr(ops, name)(*tensors)
    total = np.sum((y[0] if isinstance(y, tuple) else y) ** 2)
    first = grad(total, tensors[:1], retain_graph=True)
    for f, s in zip(first, grad(total, tensors[:1]), strict=True):
        np.testing.assert_array_equal(f.array, s.array)


@every_kind
def test_the_output_lies_as_any_other_array(name):
    value, _ = getattr(ops, name).fused(*inputs_of(name, 4, 3, 2, 4))
    for part in value if isinstance(value, tuple) else (value,):
        assert part.flags.c_contiguous


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize(
    "settings", [{"batch_first": True}, {"bidirectional": True}, {"bias": False}]
)
def test_layers_equal_the_reference(kind, settings):
    dg.manual_seed(0)
    layer, x = kind(5, 7, num_layers=2, **settings), Tensor(np.ones((4, 20, 5), np.float32))
    results = []
    for mode in (dg.enable_grad, dg.reference_kernels):
        layer.zero_grad()
        with mode():
            y, _ = layer(x)
            (y * y).sum().backward()
        results.append([y.array, *(p.grad.array for p in layer.parameters())])
    for f, w in zip(*results, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-4, atol=1e-5)

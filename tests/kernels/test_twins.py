"""Every fused twin against its reference: values and gradients, float32 and float64."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import cases, cast, is_float, values_and_gradients

import distgrad as dg
from distgrad import Tensor, kernels, ops
from distgrad.autograd import REGISTRY
from distgrad.ops.interpolate import linear_taps

pytest.importorskip("numba", reason="numba is not installed: there are no twins")

TOLERANCE = {np.float32: 3e-5, np.float64: 1e-10}


def recurrence(gates):
    """x, the state before (an LSTM's c too), the weights; an RNN has one bias."""
    t, b, i, h = 37, 9, 7, 131  # no multiples of what is worked on at once

    def draw(r):
        states = [r.normal(size=(b, h)) for _ in range(2 if gates == 4 else 1)]
        weights = [0.7 * r.normal(size=(gates * h, n)) * n**-0.5 for n in (i, h)]
        biases = [r.normal(size=gates * h), None if gates == 1 else r.normal(size=gates * h)]
        return [r.normal(size=(t, b, i)), *states, *weights, *biases], {}

    return draw


def projected(r):
    t, b, i, h, p = 37, 9, 7, 131, 5
    shapes = [(t, b, i), (b, p), (b, h), (4 * h, i), (4 * h, p), (4 * h,), (4 * h,), (p, h)]
    return [r.normal(size=s) * (s[-1] ** -0.5 if len(s) == 2 else 1) for s in shapes], {}


def regular(r):
    a = 0.3 * r.normal(size=(3, 5, 13, 13))
    a[..., range(13), np.roll(range(13), 3)] += 3  # no row stays where it is
    return a


def positive_definite(r):
    a = r.normal(size=(3, 5, 13, 13))
    return a @ a.swapaxes(-1, -2) + np.eye(13)


LARGER = {  # beyond the samples: sizes that are no multiple of a vector or of a block
    "adaptive_max_pool": lambda r: ([r.normal(size=(3, 5, 31, 17))], {"output_size": (7, 4)}),
    "avg_pool": lambda r: (
        [r.normal(size=(3, 5, 31, 17))],
        {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
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
    "cosine": lambda r: ([*r.normal(size=(2, 5, 7, 1100))], {"axis": -1, "eps": 33.0}),
    "distances": lambda r: ([r.normal(size=(2, 7, 5)), r.normal(size=(537, 5))], {"p": 2.0}),
    "grid_sample": lambda r: (
        [r.normal(size=(2, 5, 31, 17)), r.uniform(-1.2, 1.2, (2, 13, 29, 2))],
        {"mode": "bilinear", "padding_mode": "reflection", "align_corners": False},
    ),
    "multi_margin": lambda r: (
        [2 * r.normal(size=(37, 67)), np.append([0, 66], r.integers(0, 67, 35))],
        {"p": 2, "margin": 0.7},
    ),
    "multilabel_margin": lambda r: (
        [2 * r.normal(size=(37, 67)), r.integers(-1, 67, (37, 67))],
        {"reduction": "sum"},
    ),
    "outer_product": lambda r: ([r.normal(size=257), r.normal(size=131)], {}),
    "pair_distances": lambda r: ([r.normal(size=(67, 5))], {"p": 1.0}),
    "bag_sum": lambda r: (
        [r.normal(size=(67, 37)), r.integers(0, 67, 257)],
        {"ends": np.array([0, 5, 5, 14, 257])},
    ),
    "cross_entropy": lambda r: (
        [30 * r.normal(size=(37, 67)), r.integers(0, 67, 37)],
        {"label_smoothing": 0.1},
    ),
    "dropout": lambda r: ([r.normal(size=(37, 67)), r.random((37, 67)) < 0.5], {"p": 0.5}),
    "alpha_dropout": lambda r: ([r.normal(size=(5, 7, 37)), r.random((5, 7, 1)) < 0.5], {"p": 0.5}),
    "clamp": lambda r: ([r.normal(size=(37, 67)), -0.3, 1], {}),
    "where": lambda r: (
        [r.random((37, 67)) < 0.4, r.normal(size=(37, 67)), r.normal(size=(37, 67))],
        {},
    ),
    "glu": lambda r: ([r.normal(size=(5, 14, 37))], {"axis": 1}),
    "embedding": lambda r: ([r.integers(0, 19, (7, 31)), r.normal(size=(19, 33))], {}),
    "ctc": lambda r: (
        [r.normal(size=(37, 3, 7)) - 2, r.integers(1, 7, (3, 9))],
        {"input_lengths": np.array([37, 30, 21]), "target_lengths": np.array([9, 7, 0])},
    ),
    **dict.fromkeys(("cos", "sin"), lambda r: ([r.normal(size=(37, 67)) * 100], {})),
    **dict.fromkeys(("digamma", "lgamma"), lambda r: ([np.exp(r.uniform(-9, 9, (37, 67)))], {})),
    **dict.fromkeys(
        ("igamma", "igammac"),
        lambda r: ([np.exp(r.uniform(-6, 6, (37, 67))), np.exp(r.uniform(-6, 6, (37, 67)))], {}),
    ),
    "linear": lambda r: (
        [r.normal(size=(3, 301, 61)), r.normal(size=(41, 61)), r.normal(size=41)],
        {},
    ),
    "matmul": lambda r: ([r.normal(size=(903, 61)), r.normal(size=(61, 41))], {}),
    "nll": lambda r: ([r.normal(size=(37, 67)), np.append([0, -100], r.integers(0, 67, 35))], {}),
    "prelu": lambda r: ([r.normal(size=(5, 13, 7, 9)), r.normal(size=(13, 1, 1))], {}),
    **dict.fromkeys(("tril", "triu"), lambda r: ([r.normal(size=(3, 37, 67))], {"k": 0})),
    **dict.fromkeys(
        ("sum", "mean", "nansum"), lambda r: ([r.normal(size=(5, 3, 7, 699))], {"axis": -1})
    ),
    "cumprod": lambda r: ([r.uniform(0.9, 1.1, (5, 31, 7))], {"axis": 1}),
    "cumsum": lambda r: ([r.normal(size=(5, 31, 7))], {"axis": -2}),
    "getitem": lambda r: (
        [r.normal(size=(31, 5, 7))],
        {"index": np.arange(-31, 31).reshape(2, 31)},
    ),
    "group_norm": lambda r: (
        [r.normal(size=(3, 6, 13, 5)) - 2, r.normal(size=6), r.normal(size=6)],
        {"groups": 2},
    ),
    "prod": lambda r: ([r.uniform(0.9, 1.1, (5, 31, 7))], {"axis": 1}),
    **dict.fromkeys(
        ("floor_divide", "fmod", "remainder"),
        lambda r: ([r.uniform(-9, 9, (37, 67)), r.uniform(0.3, 2, (37, 67))], {}),
    ),
    "resample": lambda r: (
        [r.normal(size=(3, 5, 31, 17))],
        dict(zip(("index", "weight"), linear_taps(31, 43, 31 / 43, False), strict=True), axis=2),
    ),
    **dict.fromkeys(
        ("amax", "amin", "max", "min", "vector_norm"),
        lambda r: ([np.round(r.normal(size=(5, 31, 7)), 1)], {"axis": 1}),
    ),
    "rms_norm": lambda r: ([r.normal(size=(37, 67)) - 2, r.normal(size=67)], {}),
    "set_at": lambda r: (
        [r.normal(size=(5, 31, 7)), r.normal(size=(5, 2, 31, 7))],
        {"index": (slice(None), r.choice([-30, -7, 1, 5, 30], (2, 31)))},
    ),
    "take": lambda r: (
        [r.normal(size=(5, 31, 7))],
        {"indices": np.arange(-31, 31).reshape(2, 31), "axis": 1},
    ),
    "cholesky": lambda r: ([positive_definite(r)], {}),
    **dict.fromkeys(("det", "inv", "slogdet"), lambda r: ([regular(r)], {})),
    "lu_factor": lambda r: ([r.normal(size=(3, 5, 13, 9)) + 4 * np.eye(13, 9)[::-1]], {}),
    "lu_unpack": lambda r: ([r.normal(size=(3, 5, 9, 13))], {}),
    "solve": lambda r: ([regular(r), r.normal(size=(3, 5, 13, 7))], {}),
    "solve_triangular": lambda r: (
        [regular(r), r.normal(size=(3, 5, 13, 7))],
        {"lower": False},
    ),
    "add_at": lambda r: (
        [r.normal(size=(5, 13, 7))],
        {"index": r.integers(0, 31, (5, 13)), "shape": (31, 7), "dtype": "f8"},
    ),
    "take_along": lambda r: (
        [r.normal(size=(5, 31, 7))],
        {"index": np.arange(5 * 31 * 7).reshape(5, 31, 7) % 31, "axis": 1},
    ),
    **dict.fromkeys(
        ("add", "multiply", "subtract"),
        lambda r: ([r.normal(size=(5, 37, 67)), r.normal(size=(37, 1))], {}),
    ),
    "erfcx": lambda r: ([r.uniform(-5, 30, (37, 67))], {}),
    "polygamma": lambda r: ([np.exp(r.uniform(-9, 9, (37, 67)))], {"n": 2}),
    "permute_along_axis": lambda r: (
        [r.normal(size=(5, 31, 7))],
        {"indices": np.argsort(r.normal(size=(5, 31, 7)), axis=1), "axis": 1},
    ),
    "unfold": lambda r: (
        [r.normal(size=(3, 5, 31, 17))],
        {"kernel": (3, 4), "stride": (2, 3), "padding": (2, 3), "dilation": (2, 1)},
    ),
    "fold": lambda r: (
        [r.normal(size=(3, 60, 70))],
        {
            "size": (31, 17),
            "kernel": (3, 4),
            "stride": (2, 3),
            "padding": 0,
            "dilation": (2, 1),
        },
    ),
    "pad_border": lambda r: (
        [r.normal(size=(5, 3, 17, 9))],
        {"pad_width": ((0, 0), (0, 0), (2, 5), (3, 0)), "mode": "reflect"},
    ),
    "add_slices": lambda r: (
        [r.normal(size=(5, 31, 7)), r.normal(size=(5, 37, 7))],
        {"index": r.integers(0, 31, 37), "axis": 1},
    ),
    **dict.fromkeys(
        ("add_along", "put_along"),
        lambda r: (
            [r.normal(size=(5, 31, 7)), r.normal(size=(5, 37, 7))],
            {"index": r.integers(1, 29, (5, 37, 7)), "axis": 1},
        ),
    ),
    "extreme_at": lambda r: (
        [np.round(r.normal(size=s), 1) for s in ((5, 31, 7), (3, 67, 7))],
        {"places": np.arange(201) % 77 + 3, "width": 7, "own": abs(np.arange(155) - 41) > 38},
    ),
    "gru": recurrence(3),
    "lstm": recurrence(4),
    "lstm_projected": projected,
    "rnn": recurrence(1),
    "layer_norm": lambda r: ([r.normal(size=(37, 67)) - 2, r.normal(size=67), None], {}),
    "max_pool": lambda r: ([r.normal(size=(3, 5, 31, 17))], {"kernel_size": 3, "stride": 2}),
    "scaled_dot_product_attention": lambda r: (
        [*(r.normal(size=(2, 3, 67, 16)) for _ in range(3)), None],
        {"is_causal": True},
    ),
    "log_softmax": lambda r: ([30 * r.normal(size=(37, 67))], {"axis": -1}),
    "softmax": lambda r: ([30 * r.normal(size=(37, 67))], {"axis": -1}),
}
LARGER["powers"] = lambda r: ([r.uniform(-1.5, 1.5, (5, 31))], {"count": 37})
LARGER["three_term"] = lambda r: (
    [r.uniform(-1.5, 1.5, (5, 31, 7))],
    {"terms": tuple([(2 * k + 1, k % 2, k, k + 1) for k in range(7)])},
)
LARGER["zeta"] = lambda r: (
    [r.uniform(0.1, 9, (5, 31, 7))],
    {"x": r.uniform(1.1, 9, (5, 31, 7))},
)
LOSE_NAN = {"nan_to_num", "nansum"}
RECIPES = ("bessel", "pairs", "pointwise", "slopes")  # the modules of formulas


RANGES = {
    ops.binary_cross_entropy: (0.01, 0.99),
    ops.erfinv: (-0.999, 0.999),
    ops.kl_div: (0.01, 4),
    ops.logit: (0.01, 0.99),
    ops.ndtri: (0.001, 0.999),
}


def elementwise(op):
    """Inputs on both sides of every kink, far out too, with the settings of the op's samples."""
    low, high = RANGES.get(op, (-9, 9))
    settings = cases(op)[-1][1]
    count = len(op.inputs)

    def draw(r):
        inputs = [r.uniform(low, high, (37, 67)) for _ in range(count)]
        for x in inputs:
            x[:, :9] = x[0, 0]  # ties, where there are two
        return inputs, settings

    return draw


for _op, _module in kernels.TWINS.items():
    if _module in RECIPES and _op.name not in LARGER:
        LARGER[_op.name] = elementwise(_op)
FORMULAS = [op for op, module in kernels.TWINS.items() if module in RECIPES]
every_formula = pytest.mark.parametrize("op", FORMULAS, ids=lambda o: o.name)
every_twin = pytest.mark.parametrize("op", kernels.TWINS, ids=lambda o: o.name)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])


def compare(op, inputs, settings, dtype):
    inputs = cast(inputs, dtype)
    found = values_and_gradients(op, inputs, settings)
    with dg.reference_kernels():
        wanted = values_and_gradients(op, inputs, settings)
    for f, w in zip(found, wanted, strict=True):
        assert (f.dtype, f.shape) == (w.dtype, w.shape)
        scale = max(1.0, float(np.abs(w).max(initial=0)))
        np.testing.assert_allclose(f, w, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


@both_dtypes
@pytest.mark.parametrize(("queries", "keys"), [(65, 65), (150, 150), (150, 70), (70, 150), (3, 65)])
def test_causal_attention_in_blocks(queries, keys, dtype):
    r = np.random.default_rng(queries)
    shapes = [(2, 3, queries, 8), (1, 3, keys, 8), (2, 3, keys, 5)]
    inputs = [*(r.normal(size=s) for s in shapes), None]
    compare(ops.scaled_dot_product_attention, inputs, {"is_causal": True}, dtype)


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
    of_float32 = (ops.digamma, ops.igamma, ops.igammac, ops.lgamma, ops.zeta)
    of_float64 = (ops.cos, ops.sin)
    alone = op in (of_float32 if dtype is np.float64 else of_float64)
    assert (op.fused(*cast(inputs, dtype), **settings) is None) == alone


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
    values = value if isinstance(value, tuple) else (value,)
    lost = not any(np.isnan(v.array).any() for v in values)
    assert not lost or op.name in LOSE_NAN or (op is ops.alpha_dropout and not inputs[1].flat[0])


SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 1.0, -1.0, 3.0, -3.0, 1e4, -1e4]


@every_formula
@both_dtypes
def test_a_formula_does_what_its_reference_does_with_special_numbers(op, dtype):
    _, settings = LARGER[op.name](np.random.default_rng(8))
    inputs = [x.ravel() for x in np.meshgrid(*[SPECIAL] * len(op.inputs))]
    inputs = cast(inputs, dtype)
    settings = {**settings, "reduction": "none"} if "reduction" in settings else settings
    unknown = np.isnan(inputs).any(axis=0)

    def same(found, wanted):
        # Where the reference multiplies an infinity by 0 a formula may know better.
        known = np.isnan(wanted) & np.isfinite(found) & ~unknown
        np.testing.assert_allclose(found, np.where(known, found, wanted), TOLERANCE[dtype], 1e-35)

    with np.errstate(all="ignore"):
        value, backs = op.fused(*inputs, **settings)
        wanted, wanted_backs = op.function(*inputs, **settings)
        same(value, wanted)
        pairs = (
            [(backs, wanted_backs)] if callable(backs) else zip(backs, wanted_backs, strict=True)
        )
        for back, wanted_back in pairs:
            g = np.ones(value.shape, dtype)
            same(back(g), wanted_back(g))


@every_formula
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (5,), (2, 3, 4)])
def test_a_formula_takes_arrays_of_every_shape(op, shape):
    (*_, settings) = cases(op)[-1]
    inputs = [np.full(shape, 0.3) for _ in op.inputs]
    compare(op, inputs, settings, np.float32)


@every_formula
@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0)])
def test_a_formula_keeps_the_memory_layout_of_its_input(op, axes):
    (*_, settings) = cases(op)[-1]
    settings = {**settings, "reduction": "none"} if "reduction" in settings else settings
    r = np.random.default_rng(4)
    inputs = [r.uniform(0.1, 0.9, (3, 4, 5)).astype(np.float32).transpose(axes) for _ in op.inputs]
    compare(op, inputs, settings, np.float32)
    value, backs = op.fused(*inputs, **settings)
    assert value.strides == inputs[0].strides
    back = backs if callable(backs) else backs[0]
    g = r.normal(size=value.shape).astype(np.float32)
    assert back(g).strides == inputs[0].strides
    np.testing.assert_array_equal(back(g), back(np.asfortranarray(g)))


def test_a_setting_that_is_a_whole_number_compiles_nothing_new():
    x = Tensor(np.linspace(-3, 3, 7, dtype=np.float32), requires_grad=True)
    ops.elu(x, alpha=1.0).sum().backward()
    with_float = x.grad.array.copy()
    x.grad = None
    ops.elu(x, alpha=1).sum().backward()
    np.testing.assert_array_equal(x.grad.array, with_float)


def test_a_setting_that_the_op_does_not_have_is_refused_in_its_words():
    with pytest.raises(dg.ShapeError, match="leaky_relu expects"):
        ops.leaky_relu(np.ones(3, np.float32), slope=1.0)


def test_what_a_formula_reads_may_not_change_before_backward():
    x = Tensor(np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4), requires_grad=True)
    y = ops.leaky_relu(x)
    x.array[0, 0] = 5
    with pytest.raises(dg.GradError, match="changed in place"):
        y.sum().backward()


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


@pytest.mark.parametrize("rows", [2, 63, 64, 65, 200])
@both_dtypes
def test_batch_norm_of_rows(rows, dtype):
    r = np.random.default_rng(rows)
    x, w, b = r.normal(size=(rows, 19)) + 3, r.normal(size=19), r.normal(size=19)
    for inputs in ([x, w, b], [x, None, b], [x, w, None]):
        compare(ops.batch_norm, inputs, {}, dtype)
    compare(ops.batch_norm, [x[:, :, None, None], w, b], {"eps": 0.1}, dtype)


ALONG = [(), (1,), (0,), (5,), (1, 7), (7, 1), (3, 4, 5)]


FREE = [ops.cumsum, ops.cumprod, ops.prod, ops.take, ops.softmax, ops.log_softmax]


@pytest.mark.parametrize("op", FREE, ids=lambda o: o.name)
@pytest.mark.parametrize("shape", ALONG, ids=str)
def test_along_every_axis_of_every_shape(op, shape):
    r = np.random.default_rng(2)
    for axis in range(-len(shape), len(shape)):
        settings = {"axis": axis}
        if op is ops.take:
            settings["indices"] = r.integers(0, max(shape[axis], 1), 6 if shape[axis] else 0)
        compare(op, [r.normal(size=shape)], settings, np.float64)


@pytest.mark.parametrize("axis", [None, (0, 1), (1, 2), (0, 2), (-1,), (), 1])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("op", [ops.amax, ops.amin, ops.max, ops.vector_norm], ids=lambda o: o.name)
def test_reductions_over_several_axes_with_ties(op, axis, keepdims):
    x = np.round(np.random.default_rng(2).normal(size=(3, 4, 5)), 0)
    for special in (0, np.nan, np.inf):
        x[1, 2, 3] = special
        with np.errstate(invalid="ignore"):
            compare(op, [x], {"axis": axis, "keepdims": keepdims}, np.float64)


@pytest.mark.parametrize("op", [ops.sum, ops.mean, ops.nansum], ids=lambda o: o.name)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, -1, (1, 2), (-1, 0, 1), 0, (0, 2)], ids=str)
def test_sums_over_several_axes(op, keepdims, axis):
    x = np.random.default_rng(2).normal(size=(3, 50, 611)) + 1
    if op is ops.nansum:
        x[x < 0] = np.nan
    for dtype in (np.float32, np.float64):
        compare(op, [x], {"axis": axis, "keepdims": keepdims}, dtype)


@pytest.mark.parametrize("k", [-70, -5, 0, 5, 70])
@pytest.mark.parametrize("op", [ops.tril, ops.triu], ids=lambda o: o.name)
def test_triangles_on_every_diagonal(op, k):
    compare(op, [np.random.default_rng(2).normal(size=(3, 37, 67))], {"k": k}, np.float64)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (3,), ()], ids=str)
def test_prelu_of_one_weight_and_of_several(shape):
    r = np.random.default_rng(2)
    compare(ops.prelu, [r.normal(size=shape), r.normal(size=())], {}, np.float64)
    compare(ops.prelu, [r.normal(size=shape), r.normal(size=(1,) * len(shape))], {}, np.float64)
    if len(shape) > 1:
        weight = r.normal(size=(3, *(1,) * (len(shape) - 2)))
        compare(ops.prelu, [r.normal(size=shape), weight], {}, np.float64)
        compare(ops.prelu, [r.normal(size=shape), r.normal(size=shape)], {}, np.float64)


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-40])
def test_a_norm_whose_squares_do_not_fit_is_left_to_the_reference(scale):
    x = np.array([[3, 4], [0.3, 0.4]]) * scale
    with np.errstate(over="ignore"):
        compare(ops.vector_norm, [x], {"axis": 1}, np.float32)
    assert ops.vector_norm.fused(x.astype("f4"), axis=1) is None


@pytest.mark.parametrize("axis", [None, (0, 1), (1, 2), (0, 2), (-1,), (), 1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_prod_over_several_axes_with_zeros(axis, keepdims):
    x = np.random.default_rng(2).normal(size=(3, 4, 5))
    x[1, 2, 3] = x[0, 0, 0] = x[0, 0, 1] = 0
    compare(ops.prod, [x], {"axis": axis, "keepdims": keepdims}, np.float64)


@pytest.mark.parametrize("op", [ops.floor_divide, ops.fmod, ops.remainder], ids=lambda o: o.name)
@both_dtypes
def test_remainders_are_numpys_to_the_bit(op, dtype):
    r = np.random.default_rng(6)
    exponents = r.uniform(-20, 20, 10_000)
    for x, z in (
        (r.uniform(-9, 9, 10_000), r.uniform(0.3, 2, 10_000)),
        (r.integers(-99, 99, 10_000), r.integers(1, 9, 10_000)),
        (r.uniform(-1e5, 1e5, 10_000), r.integers(1, 9, 10_000) / 8),
        (r.uniform(-1e5, 1e5, 10_000), r.uniform(0.1, 0.2, 10_000)),
        (r.uniform(-9, 9, 10_000) * 2**exponents, r.uniform(1, 2, 10_000) * 2**exponents),
        (np.arange(-5000, 5000) * 5e-324, np.full(10_000, 15e-324)),
        (np.arange(-5000, 5000) * 0.1, np.full(10_000, 0.1)),
        (np.nextafter(np.arange(-5000, 5000), 0), np.ones(10_000)),
    ):
        a, b = x.astype(dtype), (z * r.choice([-1, 1], len(z))).astype(dtype)
        if not b.all():
            continue  # too small for float32
        value, (_, back) = op.fused(a, b)
        wanted, (_, wanted_back) = op.function(a, b)
        assert value.tobytes() == wanted.tobytes()
        np.testing.assert_array_equal(back(a), wanted_back(a))


@pytest.mark.parametrize("op", [ops.floor_divide, ops.fmod, ops.remainder], ids=lambda o: o.name)
@pytest.mark.parametrize("pair", [(1, 0), (np.inf, 1), (1, np.inf), (np.nan, 1), (1e9, 1e-10)])
@both_dtypes
def test_remainders_of_extremes_are_left_to_the_reference(op, pair, dtype):
    a, b = (np.array([1, x], dtype) for x in pair)
    assert op.fused(a, b) is None


def test_second_gradients_come_from_the_reference():
    x = np.random.default_rng(1).normal(size=(3, 4))
    dg.gradcheck(ops.gelu_tanh, [x], second=True)


def test_every_twin_is_declared_once_and_has_an_awkward_case():
    assert {o.name for o in kernels.TWINS} == set(LARGER)
    others = {o.name for o in REGISTRY.values() if o.fused} - set(LARGER)
    assert all(REGISTRY[name].elementwise for name in others)  # test_unbuffered.py


@both_dtypes
def test_slogdet_leaves_singular_and_infinite_matrices_to_the_reference(dtype):
    a = np.stack([np.eye(3), 2 * np.eye(3)[[1, 0, 2]]]).astype(dtype)
    (sign, log), _ = ops.slogdet.fused(a)
    assert sign.tolist() == [1, -1]
    np.testing.assert_allclose(log, [0, 3 * np.log(2)], rtol=1e-6)
    for number in (0, np.inf):
        a[1, 2, 2] = number
        assert ops.slogdet.fused(a) is None
        with np.errstate(invalid="ignore"):
            found, wanted = ops.slogdet(a), np.linalg.slogdet(a)
        for f, w in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(f.array, w)
    (sign, log), _ = ops.slogdet.fused(np.full((1, 1, 1), -1e-30, dtype))
    assert sign.item() == -1
    assert np.isfinite(log).all()


@pytest.mark.parametrize("op", [ops.floor_divide, ops.fmod, ops.remainder])
@pytest.mark.parametrize("shape", [(37, 1), (67,), (1, 1), (5, 1, 67), ()])
def test_remainders_by_what_is_broadcast_have_the_references_bits(op, shape):
    r = np.random.default_rng(3)
    a, b = r.uniform(-9, 9, (37, 67)), r.uniform(0.3, 2, shape) * r.choice([-1, 1], shape)
    a[0] = 0
    for inputs in (cast([a, b], np.float32), cast([b, 2 + np.abs(a)], np.float32)):
        assert op.fused(*inputs) is not None
        found = values_and_gradients(op, inputs, {})
        with dg.reference_kernels():
            wanted = values_and_gradients(op, inputs, {})
        for f, w in zip(found, wanted, strict=True):
            assert f.tobytes() == w.tobytes()


def test_remainders_of_shapes_that_do_not_fit_are_refused_in_the_ops_words():
    a, b = Tensor(np.ones((3, 4), np.float32)), Tensor(np.ones((3, 5), np.float32))
    with pytest.raises(dg.ShapeError, match=r"fmod .*\(3, 4\), \(3, 5\)"):
        np.fmod(a, b)


@pytest.mark.parametrize("op", [ops.sin, ops.cos], ids=lambda o: o.name)
def test_angles_of_every_size_are_within_a_place_of_c(op):
    r = np.random.default_rng(3)
    sizes = 10.0 ** r.uniform(-300, 300, 3000), r.uniform(-9, 9, 3000), r.uniform(-1e9, 1e9, 3000)
    turns = np.arange(3000) * (np.pi / 2)
    special = np.array([0.0, -0.0, 5e-324, 2.0**28, 2.0**28 + 1])
    for x in (*sizes, turns, special, np.nextafter(turns, 0)):
        value, back = op.fused(x)
        wanted, wanted_back = op.function(x)
        np.testing.assert_array_max_ulp(value, wanted, 1)
        np.testing.assert_array_equal(np.signbit(value), np.signbit(wanted))
        np.testing.assert_array_max_ulp(back(np.ones(x.shape)), wanted_back(np.ones(x.shape)), 1)
    value, _ = op.fused(np.array([np.inf, -np.inf, np.nan]))
    assert np.isnan(value).all()


@pytest.mark.parametrize("place", [6, 10**6])
def test_places_that_an_array_does_not_have_are_refused(place):
    a, src = Tensor(np.ones((6, 2), np.float32)), Tensor(np.ones((2, 2), np.float32))
    places = np.array([0, place])
    with pytest.raises((dg.ShapeError, IndexError), match="out of bounds"):
        ops.extreme_at(a, src, places=places, width=2)
    with pytest.raises((dg.ShapeError, IndexError), match="out of bounds"):
        ops.add_slices(a, src, index=places, axis=0)

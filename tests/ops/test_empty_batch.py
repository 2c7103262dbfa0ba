"""Every op on a batch of no samples: forward and back, no warning, gradients of right shapes."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import OPS, cases, cast, is_float, values_and_gradients

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd.mode import empty_shard, switched

# The axis that runs over the samples, where it is not an op's first one.
BATCH = {"rnn": "b", "lstm": "b", "gru": "b", "lstm_projected": "b", "ctc": "n", "bag_sum": "n"}
# Settings that say how long the first axis is, or choose from it, for one that is 0 long.
LENGTHS = {
    "add_slices": {"index": np.array([2, 0, 2, 1]), "axis": 1},
    "add_at": {"index": (np.zeros(0, int),)},
    "bag_sum": {"ends": np.zeros(3, int)},
    "broadcast_to": {"shape": (2, 0, 4)},
    "ctc": {"input_lengths": np.zeros(0, int), "target_lengths": np.zeros(0, int)},
    "diagonal_fill": {"shape": (0, 2, 4), "axis1": 1, "axis2": 2, "offset": 0},
    "extreme_at": {"places": np.zeros(0, int), "own": None},
    "fold_border": {"shape": (0, 3, 4)},
    "getitem": {"index": slice(None, None, 2)},
    "pad_border": {"pad_width": ((0, 0), (1, 2), (3, 1))},
    "permute_along_axis": {"indices": np.zeros((0, 4), int)},
    "reordered": {"parts": (0, 3, 2, 4), "order": (0, 2, 1, 3), "shape": (0, 12, 2)},
    "set_at": {"index": slice(None, None, -1)},
    "squeeze": {"axis": -1},
    "take": {"indices": np.array([1, 0]), "axis": 1},
}
every_op = pytest.mark.parametrize("declared", OPS, ids=lambda o: o.name)


def names_of(declared, inputs):
    """The names of the axes of each input, by the signature that fits."""
    for signature in declared.signatures:
        names = [s.split() for s in signature.split("->")[0].split(",")]
        fixed = [[n for n in ns if n != "..."] for ns in names]
        if len(names) == len(inputs) and all(
            x is None or np.ndim(x) == len(f) or ("..." in ns and np.ndim(x) >= len(f))
            for x, ns, f in zip(inputs, names, fixed, strict=True)
        ):
            return names, fixed
    return [["..."] for _ in inputs], [[] for _ in inputs]


def without_samples(declared, inputs):
    names, fixed = names_of(declared, inputs)
    batch = BATCH.get(declared.name, names[0][0])
    # What several inputs have before their named axes is broadcast: the longest begins with the n.
    before = [
        np.ndim(x) - len(f) if batch in ns and x is not None else 0
        for x, ns, f in zip(inputs, names, fixed, strict=True)
    ]
    n = max(
        (len(x) for x, b in zip(inputs, before, strict=True) if b and b == max(before)), default=0
    )
    found = []
    for x, ns, b in zip(inputs, names, before, strict=True):
        at = 0 if batch == "..." else ns.index(batch) if batch in ns else None
        if batch == "..." and (b < max(before) or b == 0 or len(x) < n):
            at = None
        found.append(x if x is None or at is None else np.take(x, [], axis=at))
    return found


def empty_cases(declared):
    for inputs, settings in cases(declared):
        if declared.name == "convolve":
            continue  # signals are no batch
        if declared.name == "add_slices" and settings["axis"] == 0:
            continue  # slices along the samples themselves
        if declared.name == "set_diagonal" and not settings.get("axis1"):
            continue  # a diagonal of the samples themselves
        if declared.name == "matmul" and np.ndim(inputs[0]) == 1:
            continue  # a vector is no batch
        empty = without_samples(declared, inputs)
        if any(np.size(x) == 0 for x in empty if x is not None):  # others are of one sample
            own = {**settings, **LENGTHS.get(declared.name, {})}
            if declared.name.endswith("_along"):  # the index has the samples, too
                own["index"], empty = own["index"][:0], [x[:0] for x in empty]
            if declared.name == "set_diagonal":  # its second input has one axis less
                empty = [x[:0] for x in empty]
            yield empty, own


@every_op
@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_op_on_no_samples_gives_finite_results_and_gradients(declared, mode, dtype):
    for inputs, settings in empty_cases(declared):
        with mode(), switched(empty_shard, True):
            found = values_and_gradients(declared, cast(inputs, dtype), settings)
        count = sum(map(is_float, inputs))
        values, grads = found[: len(found) - count], found[len(found) - count :]
        assert [g.shape for g in grads] == [x.shape for x in inputs if is_float(x)]
        assert all(np.isfinite(g).all() for g in grads)
        # The logarithm of an empty sum is that of 0.
        assert declared.name == "logsumexp" or all(np.isfinite(v).all() for v in values)


@every_op
def test_an_op_has_a_case_of_no_samples(declared):
    signals = declared.name == "convolve"
    assert list(empty_cases(declared)) or not cases(declared) or signals


@pytest.mark.parametrize(
    "call",
    [
        np.fft.fft,
        np.fft.ifft,
        np.fft.rfft,
        np.fft.fft2,
        lambda x: np.fft.irfft(x[..., :3]),
        lambda x: dg.ops.complex_(x, x),
    ],
)
def test_transforms_of_no_samples(call):
    x = Tensor(np.zeros((0, 3, 4)), requires_grad=True)
    y = call(x)
    np.sum(np.real(y)).backward()
    assert y.shape[:2] == x.grad.shape[:2] == (0, 3)


MEANS = {
    "mean": np.mean,
    "nanmean": np.nanmean,
    "average": np.average,
    "weighted": lambda x, axis=None: np.average(x, axis, np.ones(x.shape)),
    "var": np.var,
    "std": np.std,
    "method": lambda x, axis=None: x.mean(axis),
}
every_mean = pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS)


@every_mean
@pytest.mark.parametrize("axis", [None, 0])
def test_a_mean_over_nothing_is_nan_and_in_an_empty_shard_0(mean, axis):
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    for shard, expected in ((False, np.nan), (True, 0)):
        with switched(empty_shard, shard):
            y = mean(x, axis=axis)
            y.sum().backward()
        assert y.shape == (() if axis is None else (3,))
        np.testing.assert_array_equal(y.array, np.full(y.shape, expected))
        assert x.grad.shape == (0, 3)


@every_mean
def test_a_mean_over_features_of_no_samples_is_empty(mean):
    assert mean(Tensor(np.zeros((0, 3))), axis=1).shape == (0,)


@pytest.mark.parametrize("extremum", [np.max, np.min, np.amax, np.amin, np.ptp])
def test_an_extremum_of_nothing_is_refused_but_in_an_empty_shard(extremum):
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    with pytest.raises(dg.ShapeError, match="zero-size array"):
        extremum(x)
    with switched(empty_shard, True):
        y = extremum(x)
        y.backward()
    assert y.item() == 0
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize(
    ("shape", "wanted", "expected"),
    [
        ((0, 3, 4), (0, -1), (0, 12)),
        ((0, 3, 4), (0, -1, 2), (0, 6, 2)),
        ((0, 3, 4), (-1, 4), (0, 4)),
        ((5, 0, 4), (0, -1), (0, 20)),
        ((0, 3), (-1,), (0,)),
    ],
)
def test_an_empty_shard_is_reshaped_as_a_filled_one(shape, wanted, expected):
    x = Tensor(np.zeros(shape), requires_grad=True)
    with switched(empty_shard, True):
        y = x.reshape(wanted)
        y.sum().backward()
    assert y.shape == expected
    assert x.grad.shape == shape


def test_outside_an_empty_shard_an_ambiguous_shape_is_refused():
    with pytest.raises(dg.ShapeError, match="cannot reshape array of size 0"):
        Tensor(np.zeros((0, 3, 4))).reshape(0, -1)


WRITTEN = {
    "len": lambda x: x.sum() / len(x),
    "float": lambda x: x.sum() / float(len(x)),
    "NumPy's": lambda x: x.sum(0) / np.int64(len(x)),
    "mask": lambda x: (x * np.ones((0, 3))).sum() / np.ones((0, 3)).sum(),
    "recorded": lambda x: np.sum(x * x) / np.sum(x),
}


@pytest.mark.parametrize("mean", WRITTEN.values(), ids=WRITTEN)
def test_a_mean_that_is_written_out_is_0_in_an_empty_shard(mean):
    x = Tensor(np.zeros((0, 3), np.float64), requires_grad=True)
    with switched(empty_shard, True):
        y = mean(x)
        (first,) = dg.autograd.grad(np.sum(y), [x], create_graph=True)
        np.sum(y).backward()
    assert y.dtype == first.dtype == np.float64
    assert (y.array == 0).all()
    assert first.shape == x.grad.shape == (0, 3)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(mean(x).array).all()


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("keepdim", [False, True])
def test_pytorchs_extremes_over_no_samples_are_those_of_numpy(name, keepdim):
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    with switched(empty_shard, True):
        values, indices = getattr(x, name)(dim=0, keepdim=keepdim)
        values.sum().backward()
    assert values.shape == indices.shape == ((1, 3) if keepdim else (3,))
    assert (values.array == 0).all()
    assert indices.dtype == np.intp
    assert x.grad.shape == (0, 3)

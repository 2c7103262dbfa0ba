"""Layers that keep state or draw numbers: batch norm's running statistics, dropout, settings."""

import numpy as np
import pytest

from distgrad import Tensor, manual_seed, nn
from distgrad.errors import ShapeError

MAKERS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}


def batch(ndim, seed):
    shape = (5, 3, 4, 2)[:ndim]
    offset = np.arange(3.0).reshape(1, 3, *[1] * (ndim - 2))
    values = np.random.default_rng(seed).normal(size=shape) + offset
    return Tensor(values.astype(np.float32))


@pytest.mark.parametrize("ndim", [2, 3, 4])
def test_running_statistics_follow_with_momentum_and_the_unbiased_variance(ndim):
    norm = MAKERS[ndim](3, momentum=0.25)
    mean, var = np.zeros(3), np.ones(3)
    axes = (0, *range(2, ndim))
    for seed in range(3):
        x = batch(ndim, seed)
        norm(x)
        mean = 0.75 * mean + 0.25 * x.array.mean(axes, dtype=np.float64)
        var = 0.75 * var + 0.25 * x.array.astype(np.float64).var(axes, ddof=1)
    np.testing.assert_allclose(norm.running_mean.array, mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.array, var, rtol=1e-5)
    assert norm.num_batches_tracked.array == 3
    assert norm.running_var.dtype == np.float32


def test_evaluation_uses_the_running_statistics_and_leaves_them():
    norm = nn.BatchNorm1d(3).eval()
    norm.running_mean.array[...] = [1, 2, 3]
    norm.running_var.array[...] = [4, 1, 9]
    x = batch(2, 0)
    expected = (x.array - [1, 2, 3]) / np.sqrt(np.array([4, 1, 9]) + 1e-5)
    np.testing.assert_allclose(norm(x).array, expected, rtol=1e-5)
    assert norm.running_mean.array.tolist() == [1, 2, 3]
    assert norm.num_batches_tracked.array == 0


def test_training_normalises_with_the_batchs_own_statistics():
    y = nn.BatchNorm2d(3)(batch(4, 1)).array
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, rtol=1e-4)


def test_the_running_statistics_keep_their_memory():
    norm = nn.BatchNorm1d(3)
    before = [t.array for _, t in norm.named_buffers()]
    norm(batch(2, 0))
    assert all(t.array is a for a, (_, t) in zip(before, norm.named_buffers(), strict=True))


def test_an_observer_gets_the_statistics_instead():
    norm, seen = nn.BatchNorm1d(3), []
    norm._observer = lambda module, statistics: seen.append((module, statistics))
    x = batch(2, 0)
    norm(x)
    assert norm.num_batches_tracked.array == 0
    (module, statistics), *rest = seen
    assert module is norm
    assert not rest
    assert set(statistics) == set(norm.statistics)
    np.testing.assert_allclose(statistics["running_var"], x.array.var(0, ddof=1), rtol=1e-5)


def test_a_batch_of_one_value_does_not_divide_by_zero():
    norm = nn.BatchNorm1d(2, momentum=0.5)
    norm(Tensor(np.array([[2.0, 4.0]], np.float32)))
    assert norm.running_mean.array.tolist() == [1, 2]
    assert norm.running_var.array.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(3), (2, 4)),
        (nn.BatchNorm1d(3), (2, 3, 4, 4)),
        (nn.BatchNorm2d(3), (2, 3)),
        (nn.BatchNorm2d(3), (2, 4, 3, 3)),
    ],
)
def test_batch_norm_names_what_it_expects(norm, shape):
    with pytest.raises(ShapeError, match=rf"{type(norm).__name__} expects \(n, 3, …\).*\(2, "):
        norm(Tensor(np.zeros(shape, np.float32)))


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_dropout_refuses_a_p_outside_0_to_1(p):
    with pytest.raises(ShapeError, match=rf"Dropout: p is a probability, from 0 to 1; got {p}"):
        nn.Dropout(p)


def test_dropout_zeroes_its_share_and_scales_the_rest():
    manual_seed(5)
    y = nn.Dropout(0.25)(Tensor(np.ones((100, 100), np.float32))).array
    assert set(np.unique(y).tolist()) == {0.0, float(np.float32(1 / 0.75))}
    assert abs((y == 0).mean() - 0.25) < 0.02


def test_dropout_passes_through_in_evaluation_and_at_0():
    x = Tensor(np.arange(12, dtype=np.float32))
    np.testing.assert_array_equal(nn.Dropout(0.9).eval()(x).array, x.array)
    np.testing.assert_array_equal(nn.Dropout(0.0)(x).array, x.array)


def test_dropout_draws_anew_at_every_call_and_again_from_the_same_seed():
    def masks():
        manual_seed(11)
        drop, x = nn.Dropout(0.5), Tensor(np.ones(200, np.float32))
        return [drop(x).array for _ in range(2)]

    (first, second), again = masks(), masks()
    assert (first != second).any()
    np.testing.assert_array_equal([first, second], again)


@pytest.mark.parametrize("groups", [0, 2, 4])
def test_groups_that_do_not_divide_are_refused(groups):
    with pytest.raises(ShapeError, match=rf"groups={groups} must divide in_channels=3 and out"):
        nn.Conv2d(3, 6, 1, groups=groups)


def test_layers_without_bias_have_none():
    assert nn.Linear(2, 3, bias=False).bias is None
    assert nn.Conv2d(2, 3, 1, bias=False).bias is None
    assert nn.LayerNorm(3, bias=False).bias is None


def test_an_int_and_a_pair_mean_the_same_settings():
    assert repr(nn.Conv2d(1, 2, 3, stride=2)) == repr(nn.Conv2d(1, 2, (3, 3), stride=(2, 2)))
    assert nn.LayerNorm(4).normalized_shape == (4,)


EMPTY = {
    "layer_norm": lambda x: nn.functional.layer_norm(x, (4,)),
    "layer_norm of no lengths": lambda x: nn.functional.layer_norm(x[..., :0], (0,)),
    "rms_norm": lambda x: nn.functional.rms_norm(x, (4,)),
    "rms_norm of no lengths": lambda x: nn.functional.rms_norm(x[..., :0], (0,)),
    "group_norm": lambda x: nn.functional.group_norm(x, 3),
    "instance_norm": nn.functional.instance_norm,
    "batch_norm": lambda x: nn.functional.batch_norm(x, None, None, training=True),
    "BatchNorm1d": nn.BatchNorm1d(6),
    "InstanceNorm1d": nn.InstanceNorm1d(6, track_running_stats=True),
}


@pytest.mark.parametrize("name", EMPTY)
def test_normalisations_of_nothing_are_nothing(name):
    x = Tensor(np.zeros((0, 6, 4), np.float32), requires_grad=True)
    y = EMPTY[name](x)
    y.sum().backward()
    assert y.size == 0
    assert x.grad.shape == x.shape


def test_an_empty_batch_leaves_the_running_statistics():
    norm = nn.BatchNorm1d(3)
    norm(Tensor(np.zeros((0, 3), np.float32)))
    assert norm.running_var.array.tolist() == [1, 1, 1]
    assert norm.num_batches_tracked.array == 0


def test_without_momentum_the_running_statistics_are_the_average_of_all_batches():
    norm, means = nn.BatchNorm1d(3, momentum=None), []
    for seed in range(3):
        norm(batch(2, seed))
        means.append(batch(2, seed).array.mean(0))
    np.testing.assert_allclose(norm.running_mean.array, np.mean(means, 0), rtol=1e-5)


def test_without_running_statistics_a_layer_has_none_and_uses_the_batchs_own():
    norm = nn.BatchNorm1d(3, track_running_stats=False)
    assert norm.statistics == ()
    assert list(norm.state_dict()) == ["weight", "bias"]
    norm._observer = lambda *_: 1 // 0
    x = batch(2, 0)
    np.testing.assert_array_equal(norm(x).array, norm.eval()(x).array)


def test_instance_norm_observes_the_mean_over_its_samples():
    norm, seen = nn.InstanceNorm1d(3, track_running_stats=True), []
    norm._observer = lambda module, statistics: seen.append(statistics)
    x = batch(3, 0)
    norm(x)
    assert set(seen[0]) == set(norm.statistics)
    np.testing.assert_allclose(seen[0]["running_mean"], x.array.mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(seen[0]["running_var"], x.array.var(2, ddof=1).mean(0), rtol=1e-5)
    norm.eval()(x)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.InstanceNorm2d(3)(np.zeros((2, 3))), r"InstanceNorm2d expects \(n, 3, …\) wi"),
        (lambda: nn.InstanceNorm1d(3)(np.zeros((2, 4, 5))), r"got \(2, 4, 5\)"),
        (lambda: nn.InstanceNorm1d(3, momentum=2), "InstanceNorm1d: momentum is a number"),
        (lambda: nn.GroupNorm(2, 3), "num_groups=2 must divide num_channels=3"),
        (
            lambda: nn.GroupNorm(2, 4)(np.zeros((2, 6))),
            r"GroupNorm expects \(n, 4, …\); got",
        ),
        (lambda: nn.functional.group_norm(np.zeros((2, 3)), 2), "a multiple of num_groups=2"),
        (lambda: nn.functional.instance_norm(np.zeros((2, 3))), "3 or more axes; got"),
        (lambda: nn.functional.rms_norm(np.zeros((2, 3)), 2), r"rms_norm over \(2,\) needs"),
        (lambda: nn.functional.rms_norm(np.zeros((2, 3)), 3, np.ones(2)), "but 2 in weight"),
        (lambda: nn.functional.batch_norm(np.zeros((2, 3)), None, None), "unless training=True"),
        (lambda: nn.functional.local_response_norm(np.zeros((2, 3, 4)), 0), "size >= 1; got"),
        (
            lambda: nn.functional.group_norm(np.zeros((2, 4)), 2, np.ones(2)),
            r"group_norm: weight has shape \(2,\), the channels \(4,\)",
        ),
    ],
)
def test_normalisations_say_what_they_expect(make, message):
    with pytest.raises(ShapeError, match=message):
        make()


def test_instance_norm_has_the_same_bits_whether_statistics_follow_or_not():
    x = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
    found = [
        nn.InstanceNorm1d(4, affine=True, track_running_stats=tracked)(Tensor(x)).array
        for tracked in (False, True)
    ]
    assert found[0].tobytes() == found[1].tobytes()

"""Initialisers: bounds, moments, and the same numbers from the same seed."""

import math

import numpy as np
import pytest

from distgrad import manual_seed, nn
from distgrad.errors import ShapeError


def weight(*shape):
    return nn.Parameter(np.zeros(shape, np.float32))


# (initialiser, bound for a (50, 40, 3, 2) weight: fan in 240, fan out 300)
UNIFORM = {
    "kaiming_uniform_": (nn.init.kaiming_uniform_, 1 / math.sqrt(240)),
    "kaiming_uniform_, a=0": (lambda t: nn.init.kaiming_uniform_(t, a=0), math.sqrt(6 / 240)),
    "xavier_uniform_": (nn.init.xavier_uniform_, math.sqrt(6 / 540)),
    "xavier_uniform_, gain=2": (lambda t: nn.init.xavier_uniform_(t, 2.0), 2 * math.sqrt(6 / 540)),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_initialisers_fill_their_bounds(name):
    fill, bound = UNIFORM[name]
    manual_seed(1)
    values = fill(weight(50, 40, 3, 2)).data
    assert np.abs(values).max() <= np.float32(bound)
    assert np.abs(values).max() > 0.99 * bound
    assert abs(values.mean()) < 0.03 * bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)


NORMAL = {
    "kaiming_normal_": (nn.init.kaiming_normal_, math.sqrt(2 / 240)),
    "xavier_normal_": (nn.init.xavier_normal_, math.sqrt(2 / 540)),
    "normal_": (lambda t: nn.init.normal_(t, 0.0, 0.02), 0.02),
}


@pytest.mark.parametrize("name", NORMAL)
def test_normal_initialisers_have_their_deviation(name):
    fill, std = NORMAL[name]
    manual_seed(2)
    values = fill(weight(50, 40, 3, 2)).data
    assert values.std() == pytest.approx(std, rel=0.03)
    assert abs(values.mean()) < 0.05 * std


def test_constants_fill_and_return_the_tensor_itself():
    t = weight(2, 3)
    before = t.data
    assert nn.init.constant_(t, 2.5) is t
    assert (t.data == 2.5).all()
    assert (nn.init.ones_(t).data == 1).all()
    assert (nn.init.zeros_(t).data == 0).all()
    assert t.data is before


def test_fans_of_a_vector_are_refused():
    with pytest.raises(ShapeError, match=r"need at least 2 axes; the tensor has shape \(3,\)"):
        nn.init.xavier_uniform_(weight(3))


LAYERS = {
    "Linear": (lambda: nn.Linear(40, 30), 40),
    "Conv2d": (lambda: nn.Conv2d(8, 12, (3, 2)), 48),
    "Conv2d, groups": (lambda: nn.Conv2d(8, 12, 3, groups=4), 18),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weights_and_biases_start_within_one_over_root_fan_in(name):
    make, fan_in = LAYERS[name]
    manual_seed(3)
    layer = make()
    for p in layer.parameters():
        assert np.abs(p.data).max() <= np.float32(1 / math.sqrt(fan_in))
        assert np.abs(p.data).max() > 0.8 / math.sqrt(fan_in)


def test_a_layer_without_inputs_can_be_made():
    assert nn.Linear(0, 3).weight.shape == (3, 0)


def test_embeddings_start_standard_normal():
    manual_seed(4)
    values = nn.Embedding(200, 50).weight.data
    assert abs(values.mean()) < 0.03
    assert values.std() == pytest.approx(1, rel=0.03)


def test_each_call_draws_its_own_numbers_and_the_seed_brings_them_back():
    def pair(seed):
        manual_seed(seed)
        return [nn.init.uniform_(weight(20)).data.copy() for _ in range(2)]

    first, second = pair(7)
    assert (first != second).all()
    np.testing.assert_array_equal(pair(7), [first, second])
    assert (pair(8)[0] != first).all()


def test_the_numbers_never_change():
    # Published results depend on them: if this fails, the numbers are wrong, not the test.
    manual_seed(0)
    values = nn.init.uniform_(nn.Parameter(np.zeros(3))).data
    found = [v.hex() for v in values.tolist()]
    assert found == ["0x1.7a5d3204726c0p-7", "0x1.eeb1585ce5460p-3", "0x1.c8667a55d9028p-4"]

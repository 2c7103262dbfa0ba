"""Arrays are copied into a model all together, or not at all."""

import numpy as np
import pytest

from distgrad.checkpoint import restore_into
from distgrad.errors import CheckpointError


def model(scale):
    return {
        "fc1.weight": np.arange(12, dtype=np.float32).reshape(3, 4) * scale,
        "fc1.bias": np.arange(3, dtype=np.float32) + scale,
        "steps": np.array(scale, np.int64),
        "none": np.zeros((0, 3), np.float16),
    }


def test_values_arrive_in_the_same_memory():
    target = model(0)
    flat = np.zeros(15, np.float32)
    target["fc1.weight"] = flat[:12].reshape(3, 4)
    target["fc1.bias"] = flat[12:]
    restore_into(model(5), target)
    for name, array in model(5).items():
        np.testing.assert_array_equal(target[name], array)
    np.testing.assert_array_equal(flat[12:], [5, 6, 7])


def test_the_order_of_names_does_not_matter():
    target = model(0)
    restore_into(dict(reversed(model(5).items())), target)
    assert target["steps"] == 5


def change(name, array):
    return {**model(5), name: array}


def without(name):
    return {key: array for key, array in model(5).items() if key != name}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (without("fc1.bias"), r"another model: 'fc1.bias' is missing in it; build the model"),
        (change("fc2.bias", np.ones(2)), r"it has 'fc2.bias', which this model has not"),
        (
            change("fc1.weight", np.ones((4, 3), np.float32)),
            r"'fc1.weight' has shape \(4, 3\) in it and \(3, 4\) in this model",
        ),
        (change("none", np.zeros((3, 0), np.float16)), r"'none' has shape \(3, 0\)"),
        (change("steps", np.ones(1, np.int64)), r"'steps' has shape \(1,\) in it and \(\)"),
        (change("steps", np.array(1.0)), r"'steps' is float64 in it and int64 in this model"),
        ({}, r"'fc1.weight' is missing"),
    ],
)
def test_the_first_difference_is_named_and_nothing_copied(arrays, message):
    target = model(1)
    with pytest.raises(CheckpointError, match=message):
        restore_into(arrays, target)
    for name, array in model(1).items():
        np.testing.assert_array_equal(target[name], array)


def test_a_read_only_target_is_named_and_nothing_copied():
    target = model(1)
    target["steps"].flags.writeable = False
    with pytest.raises(CheckpointError, match=r"'steps' is read-only"):
        restore_into(model(5), target)
    np.testing.assert_array_equal(target["fc1.bias"], model(1)["fc1.bias"])


def test_the_message_names_the_origin():
    with pytest.raises(CheckpointError, match=r"^runs/step-000003 belongs to another model"):
        restore_into({}, model(1), origin="runs/step-000003")

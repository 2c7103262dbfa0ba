"""What methods of Parameters and Buffers give is a Tensor, which no module registers."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn

METHODS = {
    "new_zeros": lambda x: x.new_zeros(3),
    "new_ones": lambda x: x.new_ones(3),
    "new_empty": lambda x: x.new_empty(3),
    "new_full": lambda x: x.new_full((3,), 2.0),
    "new_tensor": lambda x: x.new_tensor([1.0]),
    "max": lambda x: x.max(dim=1).indices,
    "max of a position": lambda x: x.max(1, keepdim=True)[1],
    "min": lambda x: x.min(dim=1).indices,
    "argmax": lambda x: x.argmax(dim=1),
    "sort": lambda x: x.sort(1).indices,
    "topk": lambda x: x.topk(1).indices,
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
    "clone": lambda x: x.clone(),
    "zeros_like": dg.zeros_like,
    "getitem": lambda x: x[0],
    "comparison": lambda x: x > 0,
    "double": lambda x: x.double(),
}


@pytest.mark.parametrize("make", [nn.Parameter, nn.Buffer])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_result_is_a_tensor(method, make):
    found = method(make(dg.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])))
    assert type(found) is dg.Tensor


def test_a_state_that_is_made_from_a_parameter_is_not_trained():
    model = nn.LSTM(2, 3)
    model.hidden = next(model.parameters()).new_zeros(1, 1, 3)
    assert "hidden" not in dict(model.named_parameters())
    assert not model.hidden.requires_grad


def test_numpy_by_force_cuts_the_gradient():
    x = dg.tensor([1.0, 2.0], requires_grad=True)
    np.testing.assert_array_equal((2 * x).numpy(force=True), [2.0, 4.0])
    with pytest.raises(dg.GradError, match=r"write \.detach\(\)\.numpy\(\)"):
        x.numpy()

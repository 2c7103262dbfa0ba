"""The table of a model."""

import numpy as np
import pytest

from distgrad import Tensor, manual_seed, nn
from distgrad.autograd.stream import generator
from distgrad.errors import ShapeError


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.body = nn.Sequential(nn.LayerNorm(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight
        self.spare = nn.Linear(2, 2)
        self.body[0].requires_grad_(False)

    def forward(self, tokens):
        return self.head(self.body(self.table(tokens)))


def test_it_shows_the_tree_with_shapes_and_counts():
    expected = """\
module   type        output shape  parameters  trainable
--------------------------------------------------------
(model)  Tied        (2, 3, 7)              -          -
  table  Embedding   (2, 3, 4)             28         28
  body   Sequential  (2, 3, 4)              -          -
    0    LayerNorm   (2, 3, 4)              8          0
    1    Dropout     (2, 3, 4)              -          -
  head   Linear      (2, 3, 7)              -          -
  spare  Linear      -                      6          6
--------------------------------------------------------
42 parameters, 34 trainable; 0 in buffers; 0.00 MB"""
    assert str(nn.summary(Tied(), input_size=(2, 3), dtype=np.int64)) == expected
    table = nn.summary(Tied(), np.zeros((2, 3), np.int64))
    assert str(table) == expected
    assert (table.parameters, table.trainable) == (42, 34)


def test_sizes_are_of_parameters_and_buffers():
    table = nn.summary(nn.BatchNorm1d(1000))
    assert table.size_mb == pytest.approx((4 * 4000 + 8) / 1e6)
    assert table.buffers == 2001
    assert "2,000 parameters" in str(table)
    assert table.rows[0].output_shape == "-"


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.ReLU())
    model[2].eval()
    before = {n: a.copy() for n, a in model.state_dict().items()}
    manual_seed(3)
    nn.summary(model, np.ones((4, 3), np.float32))
    drawn = generator().random()
    manual_seed(3)
    assert drawn == generator().random()
    assert [m.training for m in model.modules()] == [True, True, True, False]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert not any(m._hooks for m in model.modules())


def test_a_model_that_fails_is_left_as_it_was_too():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ShapeError):
        nn.summary(model, input_size=(3, 5))
    assert model.training
    assert not any(m._hooks for m in model.modules())


def test_several_inputs_and_outputs_are_shown():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b, {"b": b, "n": 3}

    shape = "(4, 3), b: (4, 1), n: int"
    assert nn.summary(Sum(), input_size=[(4, 3), (4, 1)]).rows[0].output_shape == shape
    inputs = Tensor(np.ones((4, 3))), np.ones((4, 1))
    assert nn.summary(Sum(), *inputs).rows[0].output_shape == shape
    with pytest.raises(ShapeError, match="inputs or input_size, not both"):
        nn.summary(Sum(), *inputs, input_size=(2,))

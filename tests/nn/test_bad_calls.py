"""Every layer and loss, called with what it cannot take: its error says what and where."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import LAYERS, LOSSES, missing

import distgrad as dg
from distgrad import DistgradError, ShapeError, Tensor, nn

CALLS = [*LAYERS, *((name, call) for name, calls in LOSSES.items() for call in calls)]
SIGNATURE = "is called with|forward\\(\\) (takes|missing|got)|positional argument"


class Model(nn.Module):
    """A model with a layer inside."""

    def __init__(self, layer):
        super().__init__()
        self.layers = nn.ModuleDict({"part": layer})

    def forward(self, *inputs):
        return self.layers["part"](*inputs)


def no_arrays(x):
    """What is no array of numbers, in place of the input ``x``."""
    yield from (None, "x", object(), [[1.0, 2.0], [3.0]], {"x": x})
    yield x.astype(object)
    yield x.astype(str)


def of_other_forms(x):
    """Arrays of another shape or kind of number than ``x``: some of them a layer may well take."""
    yield from (x.astype(complex), x.astype(bool), x.astype("f4"), x.astype(int))
    yield from (x[None], x[None, None], x[0], x.reshape(-1), x.tolist())
    for axis in range(x.ndim):
        part = x[(slice(None),) * axis + (slice(1),)]
        yield from (np.concatenate([x, part], axis), part)
        yield x[(slice(None),) * axis + (slice(0),)]
    if x.dtype.kind in "iu":
        for wrong in (1000, -7):
            yield np.where(np.arange(x.size).reshape(x.shape) == x.size - 1, wrong, x)


def replaced(inputs, kind):
    """Yield ``inputs`` with each in turn replaced by what ``kind`` makes of it."""
    for i, x in enumerate(inputs):
        if x.size:
            for wrong in kind(x):
                yield i, (*inputs[:i], wrong, *inputs[i + 1 :])


@pytest.fixture(params=CALLS, ids=[name for name, _ in CALLS])
def case(request):
    name, (args, settings, draw) = request.param
    layer = getattr(nn, name)(*args, **settings)
    return name, layer, draw(np.random.default_rng(0), 3)


def test_no_layer_is_missing_here():
    assert not missing()


def test_what_is_no_array_of_numbers_is_refused_with_the_name_of_the_layer(case):
    name, layer, inputs = case
    model = Model(layer)
    for i, given in replaced(inputs, no_arrays):
        if name == "Identity":
            continue
        with pytest.raises((TypeError, ShapeError)) as caught:
            model(*given)
        text = str(caught.value)
        if not (given[i] is None and isinstance(layer, nn.LinearCrossEntropyLoss)):
            assert any(word in text for word in ("got", "takes")), text
        path = "" if name == "Transformer" else f"raised in 'layers.part' ({name}), called with "
        assert caught.value.__notes__[-1].startswith(path)


def test_arrays_of_another_form_are_taken_or_refused_by_distgrad(case):
    _, layer, inputs = case
    for _, given in replaced(inputs, of_other_forms):
        state = {k: v.copy() for k, v in layer.state_arrays().items()}
        wrapped = [Tensor(x) if isinstance(x, np.ndarray) else x for x in given]
        try:
            layer(*wrapped)
        except DistgradError:
            for k, v in layer.state_arrays().items():
                np.testing.assert_array_equal(v, state[k])


def test_inputs_too_many_or_too_few_are_refused(case):
    name, layer, inputs = case
    with pytest.raises(TypeError, match=SIGNATURE):
        layer()
    with pytest.raises(TypeError, match=SIGNATURE):
        layer(*inputs, foo=1)
    with pytest.raises((TypeError, ShapeError)):
        layer(*inputs, *[inputs[0]] * 6)
    if "LSTM" not in name and "Transformer" not in name and "Attention" not in name:
        with pytest.raises((TypeError, ShapeError)):
            layer(*inputs, inputs[0])


def test_an_error_in_a_model_has_a_note_with_the_module_s_place_and_what_it_got():
    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(2, 1)))
    with pytest.raises(ShapeError) as caught:
        model(np.ones((5, 4), "f4"))
    assert caught.value.__notes__ == ["raised in '1.1' (Linear), called with (5, 3) float32"]


def test_the_note_is_the_same_with_hooks_and_for_errors_of_the_user_s_own():
    class Broken(nn.Module):
        def forward(self, x, scale):
            return {}["no such key"]

    layer = Broken()
    layer.register_forward_hook(lambda *_: None)
    model = nn.Sequential()
    model.forward = lambda x: layer(x, 2.0)
    model.broken = layer
    with pytest.raises(KeyError) as caught:
        model(Tensor(np.zeros(3)))
    assert caught.value.__notes__ == ["raised in 'broken' (Broken), called with (3,) float64, 2.0"]


def test_rows_of_several_lengths_are_told_as_such():
    with pytest.raises(ShapeError, match=r"rows of one length; got rows of the lengths 2, 1: pad"):
        dg.tensor([[1, 2], [3]])
    with pytest.raises(ShapeError, match=r"got 2 rows whose own rows differ in length: pad them"):
        nn.ReLU()([[[1, 2], [3, 4]], [[1, 2], [3]]])

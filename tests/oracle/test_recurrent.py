"""Recurrent layers and cells beside PyTorch's: outputs, last states, gradients, second ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from module_oracle import check_module
from oracle import array, check, drawn, dtypes, torch

from distgrad import manual_seed, nn, ops

KINDS = ["RNN", "LSTM", "GRU"]


@st.composite
def layers(draw, kind):
    """Draw the settings of a layer, its input, and its state before or Nones."""
    settings = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    if kind == "RNN":
        settings["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    i, h, t, b = (draw(st.integers(1, 4)) for _ in range(4))
    dtype = draw(dtypes)
    if kind == "LSTM":
        settings["proj_size"] = draw(st.integers(0, h - 1))
    batched = draw(st.booleans())
    shape = (t, i) if not batched else (b, t, i) if settings["batch_first"] else (t, b, i)
    count = settings["num_layers"] * (1 + settings["bidirectional"])
    states = 0 if draw(st.booleans()) else 1 + (kind == "LSTM")
    sizes = [settings.get("proj_size") or h, h][:states]
    shapes = [(count, b, n) if batched else (count, n) for n in sizes]
    inputs = [draw(array(shape, dtype)), *(draw(array(s, dtype)) for s in shapes)]
    return (i, h), settings, inputs


def call(module, x, *state):
    return module(x, None if not state else state[0] if len(state) == 1 else state)


@pytest.mark.parametrize("kind", KINDS)
@drawn
@given(data=st.data())
def test_layers_equal_pytorchs(kind, data):
    sizes, settings, inputs = data.draw(layers(kind))
    ours, theirs = (
        getattr(nn, kind)(*sizes, **settings),
        getattr(torch.nn, kind)(*sizes, **settings),
    )
    used = data.draw(st.sampled_from([slice(None), slice(1), slice(1, None)]))
    check_module(ours, theirs, inputs, lambda *a: call(*a)[used])


@pytest.mark.parametrize("kind", KINDS)
@drawn
@given(data=st.data())
def test_cells_equal_pytorchs(kind, data):
    i, h, b = (data.draw(st.integers(1, 4)) for _ in range(3))
    settings = {"bias": data.draw(st.booleans())}
    if kind == "RNN":
        settings["nonlinearity"] = data.draw(st.sampled_from(["tanh", "relu"]))
    lead, dtype = data.draw(st.sampled_from([(), (b,)])), data.draw(dtypes)
    states = 0 if data.draw(st.booleans()) else 1 + (kind == "LSTM")
    shapes = [(*lead, i), *[(*lead, h)] * states]
    ours = getattr(nn, kind + "Cell")(i, h, **settings)
    theirs = getattr(torch.nn, kind + "Cell")(i, h, **settings)
    check_module(ours, theirs, [data.draw(array(s, dtype)) for s in shapes], call)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_sequence_stays_as_close(kind):
    rng = np.random.default_rng(5)
    sizes = {"input_size": 5, "hidden_size": 7, "num_layers": 2, "bidirectional": True}
    for dtype in (np.float32, np.float64):
        ours, theirs = getattr(nn, kind)(**sizes), getattr(torch.nn, kind)(**sizes)
        x = rng.normal(size=(60, 3, 5)).astype(dtype)
        check_module(ours, theirs, [x], call, second=False)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_gives_empty_outputs(kind):
    ours, theirs = getattr(nn, kind)(3, 2), getattr(torch.nn, kind)(3, 2)
    check_module(ours, theirs, [np.zeros((4, 0, 3))], call)


def test_parameters_stand_in_pytorchs_order_within_its_bounds():
    manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = (n.LSTM(3, 16, num_layers=2, bidirectional=True) for n in (nn, torch.nn))
    names = [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_parameters()] == names
    for (_, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert abs(p.data).max() <= 0.25
        assert p.data.std() == pytest.approx(float(q.detach().std()), rel=0.3)


def test_dropout_changes_nothing_in_evaluation():
    settings = {"num_layers": 3, "dropout": 0.5}
    ours, theirs = nn.GRU(3, 4, **settings).eval(), torch.nn.GRU(3, 4, **settings).eval()
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    check_module(ours, theirs, [x], call, second=False)


def _theirs(kind, reverse, nonlinearity="tanh"):
    """PyTorch's layer as a function of its input, states, weights and biases."""
    names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]

    def run(x, *rest):
        *states, w_ih, w_hh, b_ih, b_hh = rest
        settings = {"nonlinearity": nonlinearity} if kind == "rnn" else {}
        layer = getattr(torch.nn, kind.upper())(x.shape[-1], w_hh.shape[1], **settings).double()
        zero = torch.zeros(len(w_hh), dtype=x.dtype)
        biases = [zero if b is None else b for b in (b_ih, b_hh)]
        states = [s[None] for s in states]
        y, last = torch.func.functional_call(
            layer,
            dict(zip(names, [w_ih, w_hh, *biases], strict=True)),
            (x.flip(0) if reverse else x, states[0] if len(states) == 1 else tuple(states)),
        )
        y = y.flip(0) if reverse else y
        return (y, last[1][0]) if kind == "lstm" else y

    return run


OPS = {
    "rnn": (ops.rnn, 1, 1),
    "lstm": (ops.lstm, 4, 2),
    "gru": (ops.gru, 3, 1),
    # Through the layer, with a proj_size.
    "lstm_projected": (None, 4, 2),
}


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
@drawn
@given(data=st.data())
def test_ops_equal_pytorchs_layers(name, data):
    op, gates, states = OPS[name]
    t, b, i, h = (data.draw(st.integers(1, 3)) for _ in range(4))
    dtype, reverse = data.draw(dtypes), data.draw(st.booleans())
    settings = {"reverse": reverse}
    theirs = [reverse]
    if name == "rnn":
        settings["nonlinearity"] = data.draw(st.sampled_from(["tanh", "relu"]))
        theirs.append(settings["nonlinearity"])
    shapes = [(t, b, i), *[(b, h)] * states, (gates * h, i), (gates * h, h)]
    inputs = [data.draw(array(s, dtype)) for s in shapes]
    run = _theirs(name, *theirs)
    there = [data.draw(st.booleans()) for _ in range(2)]
    inputs += [data.draw(array((gates * h,), dtype)) for bias in there if bias]
    used = slice(1, None) if name == "lstm" and data.draw(st.booleans()) else slice(None)

    def with_biases(f):
        def call(*given):
            given, biases = list(given[: states + 3]), list(given[states + 3 :])
            return f(*given, *[biases.pop(0) if bias else None for bias in there])[used]

        return call

    check(with_biases(lambda *a: op(*a, **settings)), with_biases(run), inputs)


def test_relu_at_exactly_zero_has_pytorchs_gradients():
    settings = {"nonlinearity": "relu", "bias": False}
    ours, theirs = nn.RNN(3, 4, **settings), torch.nn.RNN(3, 4, **settings)
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    x[0] = 0
    check_module(ours, theirs, [x], call)

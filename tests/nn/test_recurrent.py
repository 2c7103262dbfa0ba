"""Recurrent layers and cells alone: dropout between layers, what is refused, how they print."""

import copy

import numpy as np
import pytest

from distgrad import Tensor, enable_grad, manual_seed, nn, ops, reference_kernels
from distgrad.errors import ShapeError

KINDS = [nn.RNN, nn.LSTM, nn.GRU]
CELLS = [nn.RNNCell, nn.LSTMCell, nn.GRUCell]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_cell = pytest.mark.parametrize("cell", CELLS)


def draw(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


@every_kind
def test_a_sequence_in_two_parts_gives_the_whole(kind):
    layer, x = kind(3, 4, num_layers=2), draw(7, 2, 3)
    whole, end = layer(x)
    first, state = layer(x[:3])
    second, last = layer(x[3:], state)
    joined = np.concatenate([first, second])
    np.testing.assert_allclose(joined.array, whole.array, rtol=1e-6, atol=1e-6)
    for a, b in zip(parts(last), parts(end), strict=True):
        np.testing.assert_allclose(a.array, b.array, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "cell"), list(zip(KINDS, CELLS, strict=True)))
def test_a_loop_over_a_cell_is_the_layer(kind, cell):
    layer, step, x = kind(3, 4), cell(3, 4), draw(5, 2, 3)
    step.load_state_dict({n.removesuffix("_l0"): a for n, a in layer.state_dict().items()})
    state, outputs = None, []
    for t in range(5):
        state = step(x[t], state)
        outputs.append(parts(state)[0])
    np.testing.assert_allclose(np.stack(outputs).array, layer(x)[0].array, rtol=1e-6, atol=1e-6)


@every_kind
def test_the_second_direction_reads_from_the_end(kind):
    layer, x = kind(3, 4, bidirectional=True), draw(5, 2, 3)
    later = Tensor(np.concatenate([x.array[:-1], x.array[-1:] + 1]))
    y, changed = layer(x)[0].array, layer(later)[0].array
    np.testing.assert_array_equal(y[:4, :, :4], changed[:4, :, :4])
    assert (y[:, :, 4:] != changed[:, :, 4:]).all()


@every_kind
def test_the_number_of_recorded_ops_does_not_depend_on_the_length(kind):
    layer = kind(3, 4, num_layers=2)

    def recorded(length):
        x = draw(length, 2, 3).requires_grad_()
        start = (x * 1)._node.sequence
        return layer(x)[0]._node.sequence - start

    assert recorded(2) == recorded(30)


@every_kind
def test_dropout_acts_between_layers_only(kind):
    layer = kind(3, 40, num_layers=2, dropout=1.0)
    first, other = layer(draw(5, 2, 3))[0].array, layer(draw(5, 2, 3, seed=1))[0].array
    np.testing.assert_array_equal(first, other)  # the second layer sees zeros
    assert (first != 0).all()
    layer.eval()
    assert (layer(draw(5, 2, 3))[0].array != layer(draw(5, 2, 3, seed=1))[0].array).all()


@every_kind
def test_dropout_draws_the_same_masks_again_at_the_same_position(kind):
    layer, x = kind(3, 4, num_layers=3, dropout=0.5), draw(5, 2, 3)

    def twice():
        manual_seed(4)
        return [layer(x)[0].array for _ in range(2)]

    (first, second), again = twice(), twice()
    assert (first != second).any()
    np.testing.assert_array_equal([first, second], again)


@every_kind
def test_dropout_without_a_second_layer_warns(kind):
    with pytest.warns(UserWarning, match=f"{kind.__name__}: dropout=0.5 acts between layers"):
        kind(3, 4, dropout=0.5)


@every_kind
def test_a_deep_copy_computes_the_same_and_shares_nothing(kind):
    layer, x = kind(3, 4), draw(5, 2, 3)
    other = copy.deepcopy(layer)
    np.testing.assert_array_equal(other(x)[0].array, layer(x)[0].array)
    other.weight_hh_l0.array[...] = 9
    assert not (layer.weight_hh_l0.array == 9).any()


@every_kind
def test_an_input_of_another_size_is_refused(kind):
    message = rf"{kind.__name__} expects \(t, b, 3\) or \(t, 3\); got \(5, 2, 4\)"
    with pytest.raises(ShapeError, match=message):
        kind(3, 4)(draw(5, 2, 4))
    with pytest.raises(ShapeError, match=r"expects \(b, t, 3\) or \(t, 3\); got \(1, 5, 2, 3\)"):
        kind(3, 4, batch_first=True)(draw(1, 5, 2, 3))


@every_kind
def test_a_sequence_without_steps_is_refused(kind):
    with pytest.raises(ShapeError, match="at least one step"):
        kind(3, 4)(draw(0, 2, 3))


@pytest.mark.parametrize("shape", [(1, 2, 4), (2, 1, 4), (2, 2, 5), (2, 4)])
def test_a_state_of_another_shape_is_refused(shape):
    message = rf"GRU: the state h has shape .*{shape[-1]}\), expected \(2, 2, 4\)"
    with pytest.raises(ShapeError, match=message):
        nn.GRU(3, 4, num_layers=2)(draw(5, 2, 3), draw(*shape))
    state = (draw(2, 2, 4), draw(*shape))
    with pytest.raises(ShapeError, match=r"LSTM: the state c has shape .*, expected \(2, 2, 4\)"):
        nn.LSTM(3, 4, num_layers=2)(draw(5, 2, 3), state)


def test_a_state_of_other_parts_is_refused():
    with pytest.raises(ShapeError, match=r"LSTM: hx is a tuple \(h, c\); got Tensor"):
        nn.LSTM(3, 4)(draw(5, 2, 3), draw(2, 2, 4))
    with pytest.raises(ShapeError, match=r"LSTMCell: hx is a tuple \(h, c\); got 3 parts"):
        nn.LSTMCell(3, 4)(draw(2, 3), (draw(2, 4),) * 3)


@every_kind
def test_a_tuple_that_is_no_packed_sequence_is_refused(kind):
    with pytest.raises(ShapeError, match=f"{kind.__name__} takes .* or a PackedSequence, which"):
        kind(3, 4)((draw(5, 3), np.array([2, 2, 1])))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ShapeError, match=r"LSTM: proj_size is .* 0 or below hidden_size=4; got 4"):
        nn.LSTM(3, 4, proj_size=4)
    with pytest.raises(TypeError, match="GRU: batch_first is True or False; got 1"):
        nn.GRU(3, 4, batch_first=1)
    with pytest.raises(ShapeError, match="GRU: hidden_size is a whole number above 0; got 0"):
        nn.GRU(3, 0)
    with pytest.raises(ShapeError, match="GRU: dropout is a probability, from 0 to 1; got"):
        nn.GRU(3, 4, num_layers=2, dropout=1.5)
    with pytest.raises(ShapeError, match="GRUCell: hidden_size is a whole number above 0; got 0"):
        nn.GRUCell(3, 0)
    for kind in (nn.RNN, nn.RNNCell):
        with pytest.raises(ShapeError, match=f"{kind.__name__}: nonlinearity is 'tanh' or 'relu'"):
            kind(3, 4, nonlinearity="sin")


@every_cell
def test_cells_refuse_another_size_and_another_state(cell):
    with pytest.raises(ShapeError, match=rf"{cell.__name__} expects \(b, 3\) or \(3,\); got \(2,"):
        cell(3, 4)(draw(2, 4))
    wrong = (draw(3, 4),) * 2 if cell is nn.LSTMCell else draw(3, 4)
    with pytest.raises(ShapeError, match=r"the state h has shape \(3, 4\), expected \(2, 4\)"):
        cell(3, 4)(draw(2, 3), wrong)


@pytest.mark.parametrize("mode", [enable_grad, reference_kernels])
def test_ops_refuse_gates_that_do_not_fit_the_weight(mode):
    x, none = draw(5, 2, 3), (None, None)
    with mode():
        with pytest.raises(
            ShapeError, match=r"lstm expects x \(t, b, i\), .* W_hh \(4h, h\); got \(5, 2, 3\), "
        ):
            ops.lstm(x, draw(2, 1), draw(2, 1), draw(4, 2), draw(4, 1), *none)
        with pytest.raises(
            ShapeError, match=r"gru expects .* got \(5, 2, 3\), \(6, 3\) and \(6, 3"
        ):
            ops.gru(x, draw(2, 2), draw(6, 3), draw(6, 3), *none)
        with pytest.raises(ShapeError, match=r"lstm_projected expects .* W_hr \(p, h\); got"):
            ops.lstm_projected(x, draw(2, 1), draw(2, 2), draw(8, 3), draw(8, 2), *none, draw(1, 2))
        with pytest.raises(ShapeError, match="rnn: nonlinearity is 'tanh' or 'relu'; got 'sin'"):
            ops.rnn(x, draw(2, 3), draw(3, 3), draw(3, 3), *none, nonlinearity="sin")


def test_they_print_the_settings_that_are_not_the_default():
    assert repr(nn.LSTM(3, 4)) == "LSTM(3, 4)"
    layer = nn.RNN(3, 4, num_layers=2, nonlinearity="relu", batch_first=True)
    assert repr(layer) == "RNN(3, 4, num_layers=2, batch_first=True)"
    assert repr(nn.GRUCell(3, 4, bias=False)) == "GRUCell(3, 4, bias=False)"


@every_kind
def test_integers_are_taken_as_numbers(kind):
    layer = kind(3, 4)
    x = np.arange(6).reshape(2, 1, 3) % 2
    found, expected = layer(x)[0], layer(x.astype(np.float64))[0]
    np.testing.assert_allclose(found.array, expected.array, rtol=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}]
)
def test_the_names_of_all_weights_are_those_of_the_weights(settings):
    lstm = nn.LSTM(3, 4, **settings)
    for names, weights in zip(lstm._all_weights, lstm.all_weights, strict=True):
        assert [id(getattr(lstm, name)) for name in names] == [id(w) for w in weights]

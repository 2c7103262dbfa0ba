"""Sequences of different lengths: what is refused, and batches without a sample."""

import numpy as np
import pytest

from distgrad import ShapeError, Tensor, nn
from distgrad.nn.utils import rnn


def test_nn_utils_rnn_is_reached_as_in_pytorch():
    assert nn.utils.rnn is rnn
    assert set(rnn.__all__) <= set(vars(rnn))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rnn.pack_padded_sequence(np.ones((3, 2, 1)), np.array([2, 3])),
            r"lengths fall from the first on; got \[2, 3\]: pass enforce_sorted=False",
        ),
        (
            lambda: rnn.pack_padded_sequence(np.ones((3, 2, 1)), np.array([4, 3])),
            r"lengths are from 1 to the 3 steps of the input; got \[4, 3\]",
        ),
        (
            lambda: rnn.pack_padded_sequence(np.ones((3, 2, 1)), np.array([3, 0])),
            r"lengths are from 1 to the 3 steps",
        ),
        (
            lambda: rnn.pack_padded_sequence(np.ones((3, 2, 1)), np.array([3, 1, 1])),
            r"a batch of 2 needs as many lengths; got shape \(3,\)",
        ),
        (
            lambda: rnn.pack_padded_sequence(np.ones((3, 2, 1)), np.array([3.0, 1.0])),
            "lengths must be integers; got dtype float64",
        ),
        (lambda: rnn.pack_padded_sequence(np.ones(3), np.array([3])), r"takes \(t, b, …\)"),
        (lambda: rnn.pad_sequence([]), "takes at least one sequence; got none"),
        (
            lambda: rnn.pad_sequence([np.ones((2, 3)), np.ones((2, 4))]),
            r"equal axes behind the first; got \[\(2, 3\), \(2, 4\)\]",
        ),
        (lambda: rnn.pad_sequence([np.ones(2)], padding_side="top"), "'left' or 'right'"),
        (
            lambda: rnn.pad_packed_sequence(rnn.pack_sequence([np.ones(3)]), total_length=2),
            "total_length=2 is shorter than the longest sequence, of 3 steps",
        ),
        (lambda: rnn.PackedSequence(np.ones(3)), "needs batch_sizes; pack_padded_sequence"),
        (
            lambda: nn.GRU(2, 3)(rnn.pack_sequence([np.ones((3, 4), np.float32)])),
            r"GRU expects packed rows of 2; got \(3, 4\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_packed_batch_without_a_sample_gives_empty_outputs_and_zero_gradients(kind):
    layer = kind(2, 3, bidirectional=True)
    x = Tensor(np.zeros((4, 0, 2), np.float32))
    packed = rnn.pack_padded_sequence(x, np.zeros(0, np.int64), enforce_sorted=False)
    y, _ = layer(packed)
    out, lengths = rnn.pad_packed_sequence(y)
    assert out.shape == (4, 0, 6)
    assert lengths.shape == (0,)
    out.sum().backward()
    assert not any(p.grad.array.any() for p in layer.parameters())


def test_padding_takes_no_part_in_the_states():
    layer = nn.LSTM(2, 3)
    x = np.random.default_rng(0).normal(size=(4, 2, 2)).astype(np.float32)
    alone = layer(x[:2, 1:])[1][0].array
    packed = rnn.pack_padded_sequence(x, np.array([4, 2]))
    np.testing.assert_allclose(layer(packed)[1][0].array[:, 1:], alone, rtol=1e-6)


def test_a_packed_sequence_is_converted_as_a_whole():
    packed = rnn.pack_sequence([np.ones((2, 1), np.float32)])
    assert packed.double().data.dtype == np.float64
    assert packed.to("cpu") is packed
    assert packed.cpu() is packed
    assert not packed.is_cuda

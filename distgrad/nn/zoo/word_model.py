"""A recurrent language model."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.dropout import Dropout
from distgrad.nn.linear import Linear
from distgrad.nn.module import Module
from distgrad.nn.recurrent import KINDS, RNNBase
from distgrad.nn.sparse import Embedding


class RNNModel(Module):
    """A language model of words: embedding, recurrent layers, and scores of the next word.

    Names, settings and initial weights are those of PyTorch's example ``word_language_model``
    (Zaremba, Sutskever & Vinyals 2014; tied as in Press & Wolf 2017): ``encoder.weight``
    (ntoken, ninp), ``rnn.weight_ih_l0`` …, ``decoder.weight`` (ntoken, nhid). ``rnn_type`` is
    'LSTM', 'GRU', 'RNN_TANH' or 'RNN_RELU'. Errors: ShapeError for another, and for ``tie_weights``
    with ``nhid`` other than ``ninp``.
    """

    def __init__(
        self,
        rnn_type: str = "LSTM",
        ntoken: int = 33278,  # WikiText-2's
        ninp: int = 200,
        nhid: int = 200,
        nlayers: int = 2,
        dropout: float = 0.2,
        tie_weights: bool = False,
    ) -> None:
        super().__init__()
        if rnn_type not in KINDS:
            raise ShapeError(
                f"RNNModel: rnn_type is {', '.join(map(repr, KINDS))}; got {rnn_type!r}"
            )
        if tie_weights and nhid != ninp:
            raise ShapeError(
                f"RNNModel: tie_weights takes one matrix for both ends, so nhid={nhid} must be "
                f"ninp={ninp}"
            )
        self.rnn_type, self.ntoken, self.nhid, self.nlayers = rnn_type, ntoken, nhid, nlayers
        self.drop = Dropout(dropout)
        self.encoder = Embedding(ntoken, ninp)
        between = dropout if nlayers > 1 else 0.0
        self.rnn = RNNBase(rnn_type, ninp, nhid, nlayers, dropout=between)
        self.decoder = Linear(nhid, ntoken)
        if tie_weights:
            self.decoder.weight = self.encoder.weight
        init.uniform_(self.encoder.weight, -0.1, 0.1)
        self.decoder.get_parameter("bias").array[...] = 0
        if not tie_weights:
            init.uniform_(self.decoder.weight, -0.1, 0.1)

    def forward(self, input: TensorLike, hidden: Any = None) -> tuple[Tensor, Any]:
        """Map words (t, b) and a hidden state to log-probabilities (t·b, ntoken) and the next one.

        The state is (layers, b, nhid), an LSTM's a pair of these; zeros if None.
        """
        output, hidden = self.rnn(self.drop(self.encoder(input)), hidden)
        decoded = self.decoder(self.drop(output))
        return F.log_softmax(decoded.reshape(-1, self.ntoken), dim=1), hidden

    def init_hidden(self, bsz: int) -> Any:
        """Return a hidden state of zeros for ``bsz`` columns."""
        shape = self.nlayers, bsz, self.nhid
        state, cell = (Tensor(fixed(np.zeros(shape, self.encoder.weight.dtype))) for _ in range(2))
        return (state, cell) if self.rnn_type == "LSTM" else state

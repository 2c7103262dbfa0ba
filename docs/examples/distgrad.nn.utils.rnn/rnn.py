"""Examples of distgrad.nn.utils.rnn: sequences of different lengths."""

import distgrad as dg
from distgrad import nn
from distgrad.nn.utils import rnn

sequences = [dg.tensor([1.0, 2.0, 3.0]), dg.tensor([4.0])]

# Examples

# PackedSequence: what recurrent layers take
packed = rnn.pack_sequence([s.reshape(-1, 1) for s in sequences])
output, hidden = nn.GRU(1, 2)(packed)
isinstance(output, rnn.PackedSequence), hidden.shape

rnn.invert_permutation(dg.tensor([2, 0, 1]))

# pack_padded_sequence, pad_packed_sequence
padded = rnn.pad_sequence(sequences)
packed = rnn.pack_padded_sequence(padded, dg.tensor([3, 1]))
packed.batch_sizes, rnn.pad_packed_sequence(packed)

rnn.pack_sequence(sequences).data

rnn.pad_sequence(sequences, batch_first=True)

rnn.unpack_sequence(rnn.pack_sequence(sequences))

rnn.unpad_sequence(rnn.pad_sequence(sequences), dg.tensor([3, 1]))

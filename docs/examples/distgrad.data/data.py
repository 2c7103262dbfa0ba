"""Examples of distgrad.data."""

import tempfile
from pathlib import Path

import numpy as np

import distgrad as dg
from distgrad import data

# Examples

# ArrayDataset: samples are rows
dataset = data.ArrayDataset(np.arange(6.0).reshape(3, 2), np.array([0, 1, 0]))
len(dataset), dataset[1]

# DataLoader, Batch: global batches, of which each rank walks its shards
train, _ = data.digits()
batch = next(iter(data.DataLoader(train, global_batch_size=64, shuffle=True, seed=0)))
isinstance(batch, data.Batch), [(x.shape, y.shape) for x, y in batch.shards]

list(data.BatchSampler(data.SequentialSampler(range(7)), 3, drop_last=False))


# ChainDataset
class Count(data.IterableDataset):
    def __iter__(self):
        return iter(range(3))


list(data.ChainDataset([Count(), Count()]))

sorted(data.RandomSampler(range(4)))


# Sampler: an order of one's own
class Backwards(data.Sampler):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n - 1, -1, -1))

    def __len__(self):
        return self.n


list(Backwards(4))

list(data.SequentialSampler(range(3)))

data.StackDataset(a=[1, 2], b=["x", "y"])[1]

sorted(data.SubsetRandomSampler([4, 8]))

# TextDataset, character_tokens, split_text
tokens, vocabulary = data.character_tokens("to be or not to be")
train, validation = data.split_text(tokens, context=4, train=0.6)
x, y = data.TextDataset(tokens, context=4)[0]
vocabulary, x, y, len(train), len(validation)

data.default_convert({"a": np.zeros(2)})

# BytePairTokenizer: with the extra text; without it the error says what to install
try:
    text = "the cat and the hat and the bat\n" * 9
    tokenizer = data.BytePairTokenizer.train(text, 270)
    tokens = tokenizer.encode("the cat")
    print(len(tokens), tokenizer.decode(tokens))
except dg.DistgradError as error:
    print(error)

# digits: in the package
train, test = data.digits()
len(train), len(test), train[0][0].shape

# fashion_mnist: from $DISTGRAD_DATA, the cache, Debian's package, or downloaded
data.fashion_mnist.__name__

data.fetch(data.ArrayDataset(np.arange(4.0)), [2, 0])

# get_worker_info: None in the rank's own process
print(data.get_worker_info())

# permutation: the order of an epoch, on any number of ranks
data.permutation(6, seed=0, epoch=0), data.permutation(6, seed=0, epoch=1)

# python_docs: 700 KB of English that every Python has
data.python_docs()[:32]

# read_idx: MNIST's format
path = Path(tempfile.mkdtemp(), "labels.idx")
path.write_bytes(b"\0\0\x08\x01\0\0\0\x03\x05\x00\x04")
data.read_idx(path)

# text_file
path = Path(tempfile.mkdtemp(), "verse.txt")
path.write_text("one\ntwo\n")
data.text_file(path)

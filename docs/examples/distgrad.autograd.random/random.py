"""Examples of distgrad.random: numbers keyed by seed, step, shard and call."""

from distgrad.autograd import random

# Examples

random.bernoulli(0.5, (4,))

random.generator().integers(10)

random.integers(10, shape=(3,))

random.normal((3,), loc=1.0)

random.permutation(5)

random.uniform((3,), high=10.0)

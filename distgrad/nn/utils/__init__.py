"""PyTorch's ``nn.utils``."""

from distgrad.nn.utils import rnn

__all__ = ["rnn"]

"""PyTorch's place for the averager of local SGD."""

from distgrad.parallel import PeriodicModelAverager

__all__ = ["PeriodicModelAverager"]

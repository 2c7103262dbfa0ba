"""Averages of parameters in PyTorch's module."""

from distgrad.distributed.algorithms.model_averaging import averagers

__all__ = ["averagers"]

"""PyTorch's ``utils``, for scripts that say ``from torch.utils.data import DataLoader``."""

from distgrad.utils import data

__all__ = ["data"]

"""PyTorch's ``utils``, for scripts that say ``from torch.utils.data import DataLoader``."""

from distgrad.utils import checkpoint, data

__all__ = ["checkpoint", "data"]

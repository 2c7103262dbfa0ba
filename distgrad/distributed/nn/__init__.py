"""``torch.distributed.nn``: collectives through which gradients flow."""

from distgrad.distributed.nn import functional

__all__ = ["functional"]

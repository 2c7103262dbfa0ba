"""PyTorch's place for the hook that sends nothing."""

from distgrad.parallel.hooks import noop_hook

__all__ = ["noop_hook"]

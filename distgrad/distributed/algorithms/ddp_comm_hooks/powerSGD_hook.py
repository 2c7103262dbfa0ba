"""PyTorch's place for PowerSGD."""  # noqa: N999 (its name there)

from distgrad.parallel.hooks import PowerSGDState, batched_powerSGD_hook, powerSGD_hook

__all__ = ["PowerSGDState", "batched_powerSGD_hook", "powerSGD_hook"]

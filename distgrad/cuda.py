"""What scripts ask about GPUs: there is none, so that ``cuda if is_available() else cpu`` works."""

from __future__ import annotations

from distgrad.missing import answers

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "manual_seed_all"]


def is_available() -> bool:
    """Return False."""
    return False


def device_count() -> int:
    """Return 0."""
    return 0


def manual_seed(seed: int) -> None:
    """Seed the GPU, of which there is none; ``dg.manual_seed`` seeds what there is."""


def manual_seed_all(seed: int) -> None:
    """Seed all GPUs, of which there are none; ``dg.manual_seed`` seeds what there is."""


def empty_cache() -> None:
    """Free the memory of GPUs, of which there are none."""


__getattr__ = answers("dg.cuda", globals())

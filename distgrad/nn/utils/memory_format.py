"""PyTorch's conversions between memory formats, of which there is one here."""

from __future__ import annotations

from typing import Any, TypeVar

from distgrad.arguments import explained

T = TypeVar("T")


@explained
def convert_conv2d_weight_memory_format(module: T, memory_format: Any) -> T:
    """Return ``module``: weights lie in one format here, which changes speed, not results."""
    return module


@explained
def convert_conv3d_weight_memory_format(module: T, memory_format: Any) -> T:
    """Return ``module``: weights lie in one format here, which changes speed, not results."""
    return module

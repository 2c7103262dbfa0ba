"""Moves parameters in memory, as the bridge and the optimizers do."""

import numpy as np

from distgrad.autograd.flat import bind_
from distgrad.autograd.layout import FlatBuffer, FlatLayout


def move_(params):
    """Move ``params``, of one dtype, side by side into a new buffer."""
    layout = FlatLayout.of(p.shape for p in params)
    values, gradients = (np.empty(layout.size, params[0].dtype) for _ in range(2))
    bind_(params, FlatBuffer(layout, values, gradients))

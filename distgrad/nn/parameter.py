"""Parameter: a tensor that a module trains."""

from __future__ import annotations

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike


class Parameter(Tensor):
    """A tensor that a module trains; requires gradients unless told otherwise."""

    __slots__ = ()

    def __init__(self, data: TensorLike, requires_grad: bool = True) -> None:
        # Contiguous and its own: the optimizer works on flat views of it.
        array = data.array if isinstance(data, Tensor) else Tensor(data).array
        super().__init__(np.array(array, order="C"), requires_grad)

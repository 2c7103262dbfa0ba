"""Dropout and other noise: masks and draws keyed by seed, step, shard and call, not by the rank."""

from __future__ import annotations

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.stream import lent_generator, uniform
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.autograd.whole import whole
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import stand_for, wrap
from distgrad.ops.helpers import fractional


def dropout(
    input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero elements with probability ``p`` and scale the rest by 1 / (1 - p), in training.

    The mask depends on seed, step, shard and call, not on the rank (Srivastava et al. 2014).
    ``inplace``: ``input`` stands for the result from here on. Errors: ShapeError for a p that is
    no probability.
    """
    x = wrap(input)
    return _done("dropout", input, _dropped("dropout", x, x.shape, p, training), inplace)


def dropout1d(
    input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of (n, c, l) or (c, l) as ``dropout`` zeroes elements.

    Errors: ShapeError for other shapes (Tompson et al. 2015).
    """
    return _channels("dropout1d", 1, input, p, training, inplace)


def dropout2d(
    input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of (n, c, h, w) as ``dropout`` zeroes elements.

    Errors: ShapeError for other shapes (Tompson et al. 2015).
    """
    return _channels("dropout2d", 2, input, p, training, inplace)


def dropout3d(
    input: TensorLike, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of (n, c, d, h, w) or (c, d, h, w) as ``dropout`` zeroes elements.

    Errors: ShapeError for other shapes (Tompson et al. 2015).
    """
    return _channels("dropout3d", 3, input, p, training, inplace)


def alpha_dropout(
    input: TensorLike, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Set elements to SELU's floor with probability ``p``, then keep mean 0 and variance 1.

    Everything is zero for a p of 1. Source: Klambauer et al. 2017. Errors: as ``dropout``.
    """
    x = wrap(input)
    y = _floored("alpha_dropout", x, x.shape, p, training)
    return _done("alpha_dropout", input, y, inplace)


def feature_alpha_dropout(
    input: TensorLike, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """``alpha_dropout`` of whole channels of (n, c, …). Errors: ShapeError for less than 2 axes."""
    x = wrap(input)
    if x.ndim < 2:
        raise ShapeError(f"feature_alpha_dropout takes (n, c, …); got {x.shape}")
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    y = _floored("feature_alpha_dropout", x, shape, p, training)
    return _done("feature_alpha_dropout", input, y, inplace)


@whole
@keeps_form
def gumbel_softmax(
    logits: TensorLike, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample of the Gumbel-softmax distribution: softmax((logits + noise) / ``tau``).

    ``hard`` returns the largest as a one among zeros, with the gradient of the soft sample.
    ``eps`` is accepted as in PyTorch, and not needed. Source: Jang et al. 2017; Maddison et al.
    2017. Errors: ShapeError for a tau that is not positive.
    """
    if tau <= 0:
        raise ShapeError(f"gumbel_softmax: tau is a temperature above 0; got {tau}")
    x = wrap(logits)
    noise = lent_generator().gumbel(size=x.shape).astype(fractional(x.dtype))
    result: Tensor = ops.softmax((x + noise) / tau, axis=dim)
    if hard:
        one = np.zeros_like(result.array)
        np.put_along_axis(one, np.expand_dims(result.array.argmax(dim), dim), 1, dim)
        result = result + (one - result.array)
    return result


def check_dropout(name: str, p: float) -> None:
    """Raise ShapeError for a ``p`` that is no probability."""
    if not 0 <= p <= 1:
        raise ShapeError(f"{name}: p is a probability, from 0 to 1; got {p}")


def _done(name: str, input: TensorLike, result: Tensor, inplace: bool) -> Tensor:
    # Nothing was drawn: it is the input still.
    return stand_for(f"{name}_", input, result) if inplace and result is not input else result


def _channels(
    name: str, space: int, input: TensorLike, p: float, training: bool, inplace: bool
) -> Tensor:
    x = wrap(input)
    # PyTorch takes (c, h, w) for (n, c, l) in two dimensions, with a warning: refused here.
    allowed = (4,) if space == 2 else (space + 1, space + 2)
    if x.ndim not in allowed:
        raise ShapeError(
            f"{name} takes inputs of {' or '.join(map(str, allowed))} axes, channels in axis "
            f"-{space + 1}; got {x.shape}"
        )
    y = _dropped(name, x, (*x.shape[:-space], *(1,) * space), p, training)
    return _done(name, input, y, inplace)


def _dropped(name: str, x: Tensor, mask: tuple[int, ...], p: float, training: bool) -> Tensor:
    check_dropout(name, p)
    if not training or p == 0:
        return x
    result: Tensor = ops.dropout(x, _keep(mask, p), p=p)
    return result


def _floored(name: str, x: Tensor, mask: tuple[int, ...], p: float, training: bool) -> Tensor:
    check_dropout(name, p)
    if not training or p == 0:
        return x
    keep = _keep(mask, p)
    # Everything is zero for a p of 1, as in PyTorch.
    result: Tensor = (ops.dropout if p == 1 else ops.alpha_dropout)(x, keep, p=p)
    return result


@apart
@keeps_form
def _keep(shape: tuple[int, ...], p: float) -> Array:
    keep: Array = uniform(shape) >= p
    return keep

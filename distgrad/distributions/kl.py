"""``kl_divergence``: one table of pairs, which ``register_kl`` adds to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from distgrad.autograd.tensor import Tensor
from distgrad.distributions.distribution import Distribution

F = TypeVar("F", bound=Callable[..., Tensor])

_TABLE: dict[tuple[type, type], Callable[..., Tensor]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[F], F]:
    """Declare the function that computes KL(p ‖ q) of instances of ``type_p`` and ``type_q``.

    Errors: TypeError if they are not classes of distributions.
    """
    for kind in (type_p, type_q):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(f"Expected a class of Distribution but got {kind!r}")

    def register(function: F) -> F:
        _TABLE[type_p, type_q] = function
        return function

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """Return ∫ p log(p / q), of shape ``batch_shape``.

    The pair of the nearest classes that was registered counts. Errors: NotImplementedError if there
    is none: sample from p and average ``p.log_prob(x) - q.log_prob(x)``.
    """
    for left in type(p).__mro__:
        for right in type(q).__mro__:
            function = _TABLE.get((left, right))
            if function is not None:
                return function(p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type "
        f"{type(q).__name__}; declare it with register_kl, or average "
        f"p.log_prob(x) - q.log_prob(x) over samples x of p"
    )

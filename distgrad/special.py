"""``torch.special``: its functions by their names."""

from distgrad.functions import special as _family
from distgrad.functions.special import *  # noqa: F403
from distgrad.missing import answers

__all__ = list(_family.__all__)

__getattr__ = answers("distgrad.special", globals())

"""``torch.linalg``: its functions by their names."""

from distgrad.functions import linalg as _family
from distgrad.functions.linalg import *  # noqa: F403
from distgrad.missing import answers

__all__ = list(_family.__all__)

__getattr__ = answers("distgrad.linalg", globals())

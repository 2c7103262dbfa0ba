"""``torch.linalg``: its functions by their names."""

from distgrad.functions.linalg import *  # noqa: F403
from distgrad.functions.linalg import __all__ as __all__
from distgrad.missing import answers

__getattr__ = answers("distgrad.linalg", globals())

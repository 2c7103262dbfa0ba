"""``torch.fft``: its functions by their names."""

from distgrad.functions.fft import *  # noqa: F403
from distgrad.functions.fft import __all__ as __all__
from distgrad.missing import answers

__getattr__ = answers("distgrad.fft", globals())

"""``torch.fft``: its functions by their names."""

from distgrad.functions import fft as _family
from distgrad.functions.fft import *  # noqa: F403
from distgrad.missing import answers

__all__ = list(_family.__all__)

__getattr__ = answers("distgrad.fft", globals())

"""``torch.func``: transforms of functions, and modules as functions."""

from distgrad.autograd import func as _transforms
from distgrad.autograd.func import *  # noqa: F403
from distgrad.missing import answers
from distgrad.nn.utils.stateless import functional_call

__all__ = [*_transforms.__all__, "functional_call"]
__all__.sort()

__getattr__ = answers("distgrad.func", globals())

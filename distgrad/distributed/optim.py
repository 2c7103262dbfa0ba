"""``torch.distributed.optim``: the optimizer of post-local SGD; sharded ones are ``zero=``."""

from distgrad.missing import answers as _answers
from distgrad.parallel import PostLocalSGDOptimizer

__all__ = ["PostLocalSGDOptimizer"]

__getattr__ = _answers("distgrad.distributed.optim", globals())

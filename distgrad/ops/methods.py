"""What stands behind the Tensor methods that NumPy has no function for."""

from __future__ import annotations

from distgrad.autograd.op import as_method
from distgrad.ops.gather import index_put, masked_fill
from distgrad.ops.join import chunk, unbind
from distgrad.ops.measure import logsumexp, vector_norm
from distgrad.ops.shape import flatten

as_method(logsumexp, vector_norm)
as_method(flatten, chunk, unbind, index_put, masked_fill)

"""Tables of vectors."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.make import empty
from distgrad.nn.module import Module


class Embedding(Module):
    """A table of vectors: integers (…) to (…, embedding_dim); weight (num_embeddings, dim)."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.weight = empty(num_embeddings, embedding_dim)
        init.normal_(self.weight)

    def forward(self, indices: Any) -> Tensor:
        """Look up rows."""
        return F.embedding(indices, self.weight)

    def extra_repr(self) -> str:
        """Return the settings."""
        return ", ".join(map(str, self.weight.shape))

"""Tables of vectors."""

from __future__ import annotations

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.functional.sparse import padding_row, refuse_settings
from distgrad.nn.make import empty
from distgrad.nn.module import Module, Parameter


class Embedding(Module):
    """A table of vectors: integers (…) to (…, embedding_dim); weight (num_embeddings, dim).

    Row ``padding_idx`` starts as zeros and gets no gradient. Errors: ShapeError for a row that is
    not there, and for PyTorch's settings that are not there (see ``F.embedding``).
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: TensorLike | None = None,
    ) -> None:
        super().__init__()
        refuse_settings(max_norm, norm_type, scale_grad_by_freq, sparse)
        self.padding_idx = None if padding_idx is None else padding_row(padding_idx, num_embeddings)
        if _weight is None:
            self.weight = empty(num_embeddings, embedding_dim)
            self.reset_parameters()
        else:
            self.weight = Parameter(_weight)
            if self.weight.shape != (num_embeddings, embedding_dim):
                raise ShapeError(
                    f"Embedding: _weight has shape {self.weight.shape}; the settings ask "
                    f"{(num_embeddings, embedding_dim)}"
                )

    @property
    def num_embeddings(self) -> int:
        """The number of rows."""
        return self.weight.shape[0]

    @property
    def embedding_dim(self) -> int:
        """The length of a row."""
        return self.weight.shape[1]

    def reset_parameters(self) -> None:
        """Fill the rows with N(0, 1), the padding's with zeros."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    @classmethod
    def from_pretrained(
        cls, embeddings: TensorLike, freeze: bool = True, padding_idx: int | None = None
    ) -> Embedding:
        """Make a table of given rows (a copy of them), not trained if ``freeze``.

        The row of the padding is taken as it is. Errors: ShapeError unless there are two axes.
        """
        rows = embeddings if isinstance(embeddings, Tensor) else Tensor(embeddings)
        if rows.ndim != 2:
            raise ShapeError(f"from_pretrained takes rows and columns; got shape {rows.shape}")
        count, dim = rows.shape
        table = cls(count, dim, padding_idx=padding_idx, _weight=rows)
        table.weight.requires_grad_(not freeze)
        return table

    def forward(self, indices: TensorLike) -> Tensor:
        """Look up rows."""
        return F.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the settings."""
        shape = ", ".join(map(str, self.weight.shape))
        return shape if self.padding_idx is None else f"{shape}, padding_idx={self.padding_idx}"

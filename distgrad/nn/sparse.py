"""Tables of vectors."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.kinds import Count, Integer, NonNegative
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.functional.sparse import padding_row, refuse_settings
from distgrad.nn.make import ParameterDType, empty
from distgrad.nn.module import Module, Parameter


class _Table(Module):
    """Rows of vectors, drawn or given, and the settings that PyTorch's embeddings share."""

    padding_idx: int | None

    def _make(
        self, num_embeddings: int, embedding_dim: int, weight: TensorLike | None, **settings: Any
    ) -> None:
        name = type(self).__name__
        refuse_settings(name, settings["max_norm"], settings["scale_grad_by_freq"])
        row = settings["padding_idx"]
        settings["padding_idx"] = None if row is None else padding_row(row, num_embeddings, name)
        for key, value in settings.items():
            setattr(self, key, value)
        if weight is None:
            self.weight = empty(num_embeddings, embedding_dim)
            self.reset_parameters()
        else:
            self.weight = Parameter(weight)
            if self.weight.shape != (num_embeddings, embedding_dim):
                raise ShapeError(
                    f"{name}: _weight has shape {self.weight.shape}; the settings ask "
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


class Embedding(_Table):
    """A table of vectors: integers (…) to (…, embedding_dim); weight (num_embeddings, dim).

    Row ``padding_idx`` starts as zeros and gets no gradient; with ``sparse`` gradients are dense
    all the same. Errors: ShapeError for a row that is not there, and for PyTorch's settings that
    are not there (see ``F.embedding``).
    """

    def __init__(
        self,
        num_embeddings: Count,
        embedding_dim: Count,
        padding_idx: Integer | None = None,
        max_norm: NonNegative | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: TensorLike | None = None,
        _freeze: bool = False,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        self._make(
            num_embeddings,
            embedding_dim,
            _weight,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
        )
        if _freeze:
            self.weight.requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: TensorLike,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """Make a table of given rows (a copy of them), not trained if ``freeze``.

        The row of the padding is taken as it is. Errors: ShapeError unless there are two axes.
        """
        settings: Any = (padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        count, width = _rows(embeddings).shape
        make: Any = cls
        table: Embedding = make(count, width, *settings, embeddings, freeze)
        return table

    def forward(self, input: TensorLike) -> Tensor:
        """Look up rows."""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the settings."""
        text = [*map(str, self.weight.shape), *_shown(self, "padding_idx", "norm_type", "sparse")]
        return ", ".join(text)


class EmbeddingBag(_Table):
    """The sum, mean or largest of the rows of bags of tokens: see ``F.embedding_bag``.

    Errors: as ``Embedding``.
    """

    def __init__(
        self,
        num_embeddings: Count,
        embedding_dim: Count,
        max_norm: NonNegative | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: TensorLike | None = None,
        include_last_offset: bool = False,
        padding_idx: Integer | None = None,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        if mode not in {"sum", "mean", "max"}:
            raise ShapeError(f"EmbeddingBag: mode is 'sum', 'mean' or 'max'; got {mode!r}")
        self._make(
            num_embeddings,
            embedding_dim,
            _weight,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
        )
        self.mode, self.include_last_offset = mode, include_last_offset

    @classmethod
    def from_pretrained(
        cls,
        embeddings: TensorLike,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """Make a table of given rows (a copy of them), not trained if ``freeze``."""
        settings: Any = (max_norm, norm_type, scale_grad_by_freq, mode, sparse)
        count, width = _rows(embeddings).shape
        make: Any = cls
        table: EmbeddingBag = make(
            count, width, *settings, embeddings, include_last_offset, padding_idx
        )
        table.weight.requires_grad_(not freeze)
        return table

    def forward(
        self,
        input: TensorLike,
        offsets: TensorLike | None = None,
        per_sample_weights: TensorLike | None = None,
    ) -> Tensor:
        """Join the rows of the bags of integers (bags, length), or (n) with ``offsets``."""
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        """Return the settings."""
        text = [*map(str, self.weight.shape), *_shown(self, "norm_type"), f"mode={self.mode!r}"]
        return ", ".join([*text, *_shown(self, "padding_idx")])


def _rows(embeddings: TensorLike) -> Tensor:
    rows = embeddings if isinstance(embeddings, Tensor) else Tensor(embeddings)
    if rows.ndim != 2:
        raise ShapeError(f"from_pretrained takes rows and columns; got shape {rows.shape}")
    return rows


def _shown(table: _Table, *names: str) -> list[str]:
    """Return those of the settings that are not the default."""
    defaults = {"padding_idx": None, "norm_type": 2, "sparse": False}
    values = {name: getattr(table, name) for name in names}
    return [f"{name}={value}" for name, value in values.items() if value != defaults[name]]

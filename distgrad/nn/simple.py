"""Modules without parameters of their own: activations, pooling, dropout, losses, containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn.module import Module
from distgrad.ops.shape import flatten


class Identity(Module):
    """Return the input."""

    def forward(self, x: Any) -> Any:
        """Return ``x``."""
        return x


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        """Apply it elementwise."""
        return F.relu(x)


class GELU(Module):
    """x Φ(x) (Hendrycks & Gimpel 2016); ``approximate="tanh"`` is the faster form."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        """Apply it elementwise."""
        return F.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"approximate={self.approximate!r}"


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Tensor:
        """Apply it elementwise."""
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Tensor:
        """Apply it elementwise."""
        return F.sigmoid(x)


class MaxPool2d(Module):
    """The largest of each window of (n, c, h, w)."""

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Any) -> Tensor:
        """Pool the last two axes."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window of (n, c, h, w)."""

    def __init__(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Any) -> Tensor:
        """Pool the last two axes."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}"


class Dropout(Module):
    """Zero elements with probability ``p`` in training and scale the rest by 1 / (1 - p).

    The mask is keyed by seed, step, shard and call: the same on any number of ranks.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ShapeError(f"Dropout: p must be in [0, 1); got {p}")
        self.p = p

    def forward(self, x: Any) -> Tensor:
        """Drop elements in training; pass through in evaluation."""
        return F.dropout(x, self.p, training=self.training)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"p={self.p}"


class Flatten(Module):
    """Axes ``start_dim`` to ``end_dim`` as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Tensor:
        """Reshape."""
        return flatten(x if isinstance(x, Tensor) else Tensor(x), self.start_dim, self.end_dim)


class Sequential(Module):
    """Modules applied one after the other."""

    def __init__(self, *modules: Module) -> None:
        super().__init__()
        for i, m in enumerate(modules):
            setattr(self, str(i), m)

    def forward(self, x: Any) -> Any:
        """Pass ``x`` through all modules."""
        for m in self.children():
            x = m(x)
        return x

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __getitem__(self, index: int) -> Module:
        return list(self.children())[index]

    def __iter__(self) -> Iterator[Module]:
        return self.children()


class ModuleList(Module):
    """A list of modules whose parameters belong to the model."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for m in modules:
            self.append(m)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end."""
        setattr(self, str(len(self)), module)
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __getitem__(self, index: int) -> Module:
        return list(self.children())[index]

    def __iter__(self) -> Iterator[Module]:
        return self.children()


class MSELoss(Module):
    """The mean of (x - y)²."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, x: Any, y: Any) -> Tensor:
        """Compare two tensors of one shape."""
        return F.mse_loss(x, y, reduction=self.reduction)


class CrossEntropyLoss(Module):
    """Softmax cross-entropy of logits (n, c, …) and labels (n, …)."""

    def __init__(
        self, reduction: str = "mean", ignore_index: int = -100, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "reduction": reduction,
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
        }

    def forward(self, logits: Any, labels: Any) -> Tensor:
        """Compare logits with integer labels."""
        return F.cross_entropy(logits, labels, **self.settings)


class BCEWithLogitsLoss(Module):
    """Binary cross-entropy of logits and targets in [0, 1], of one shape."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, logits: Any, targets: Any) -> Tensor:
        """Compare logits with targets."""
        return F.binary_cross_entropy_with_logits(logits, targets, reduction=self.reduction)

"""The two models that teaching begins with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn.activation import ReLU
from distgrad.nn.container import Sequential
from distgrad.nn.conv import Conv2d
from distgrad.nn.dropout import Dropout
from distgrad.nn.linear import Linear
from distgrad.nn.module import Module


class MLP(Sequential):
    """A multilayer perceptron: (…, in_channels) to (…, hidden_channels[-1]).

    After each layer but the last a norm (if ``norm_layer`` is given), an activation and dropout;
    after the last dropout. Names and settings are those of ``torchvision.ops.MLP``: the weights are
    ``0.weight``, ``3.weight``, …, (out, in). Errors: ShapeError without ``hidden_channels``.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: Sequence[int],
        norm_layer: Callable[[int], Module] | None = None,
        activation_layer: Callable[..., Module] | None = ReLU,
        inplace: bool | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        if not hidden_channels:
            raise ShapeError(
                "MLP: hidden_channels are the widths of all layers, the last of them the number of "
                "outputs; got none"
            )
        settings: dict[str, Any] = {} if inplace is None else {"inplace": inplace}
        layers: list[Module] = []
        width = in_channels
        for hidden in hidden_channels[:-1]:
            layers.append(Linear(width, hidden, bias))
            if norm_layer is not None:
                layers.append(norm_layer(hidden))
            if activation_layer is not None:
                layers.append(activation_layer(**settings))
            layers.append(Dropout(dropout, **settings))
            width = hidden
        layers += [Linear(width, hidden_channels[-1], bias), Dropout(dropout, **settings)]
        super().__init__(*layers)


class LeNet(Module):
    """LeNet-5 (LeCun et al. 1998) as PyTorch's tutorials write it: (n, c, h, w) to (n, classes).

    ReLU and max-pooling stand for the paper's tanh and subsampling. ``image_size`` is h = w: 32, or
    28 for MNIST without padding. Names: conv1, conv2, fc1, fc2, fc3. Errors: ShapeError for images
    too small to be pooled twice.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 32) -> None:
        super().__init__()
        side = ((image_size - 4) // 2 - 4) // 2  # two times: a 5x5 filter, then every second
        if side < 1:
            raise ShapeError(f"LeNet: image_size is 16 or more; got {image_size}")
        self.conv1 = Conv2d(in_channels, 6, 5)
        self.conv2 = Conv2d(6, 16, 5)
        self.fc1 = Linear(16 * side * side, 120)
        self.fc2 = Linear(120, 84)
        self.fc3 = Linear(84, num_classes)

    def forward(self, input: TensorLike) -> Tensor:
        """Map images to logits."""
        x = F.max_pool2d(F.relu(self.conv1(input)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.reshape(x.shape[0], -1)))
        logits: Tensor = self.fc3(F.relu(self.fc2(x)))
        return logits

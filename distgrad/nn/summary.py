"""A table of a model: its modules, the shapes that come out of them, and what they weigh."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from distgrad.autograd.mode import no_grad
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import DTypeLike
from distgrad.errors import ShapeError
from distgrad.kernels import convolution_by
from distgrad.nn.conv import Convolution
from distgrad.nn.module import Module

_HEAD = ("module", "type", "output shape", "parameters", "trainable")


@dataclass(frozen=True)
class Row:
    """One module: its place in the tree, what it returned, and its own parameters (elements)."""

    name: str
    depth: int
    type: str
    output_shape: str
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Summary:
    """What ``summary`` found; ``print`` shows it as a table. Shared parameters count once."""

    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    buffers: int
    size_mb: float
    """Parameters and buffers in units of 10⁶ bytes."""
    convolution: str = ""
    """What computes the convolutions, if there are any."""

    def __str__(self) -> str:
        table = [_HEAD, *(_cells(row) for row in self.rows)]
        widths = [max(len(cells[i]) for cells in table) for i in range(len(_HEAD))]
        lines = []
        for cells in table:
            texts = [c.ljust(w) for c, w in zip(cells[:3], widths[:3], strict=True)]
            numbers = [c.rjust(w) for c, w in zip(cells[3:], widths[3:], strict=True)]
            lines.append("  ".join([*texts, *numbers]))
        rule = "-" * len(lines[0])
        total = (
            f"{self.parameters:,} parameters, {self.trainable:,} trainable; "
            f"{self.buffers:,} in buffers; {self.size_mb:.2f} MB"
        )
        convolved = [f"convolution by {self.convolution}"] if self.convolution else []
        return "\n".join([lines[0], rule, *lines[1:], rule, total, *convolved])


def summary(
    model: Module,
    *inputs: Any,
    input_size: Sequence[Any] | None = None,
    dtype: DTypeLike = np.float32,
) -> Summary:
    """Run ``model`` once on ``inputs`` and return its modules, output shapes and sizes.

    ``input_size`` is the shape of an input, batch included, or a list of shapes: zeros of
    ``dtype`` are passed. Without both, nothing is run and no shapes are shown. The run is in
    evaluation mode and not recorded: modes, running statistics and gradients stay as they are.
    Errors: ShapeError for inputs and ``input_size`` together.
    """
    if inputs and input_size is not None:
        raise ShapeError("summary takes inputs or input_size, not both")
    if input_size is not None:
        shapes = [input_size] if not input_size or isinstance(input_size[0], int) else input_size
        inputs = tuple(Tensor(np.zeros(shape, dtype)) for shape in shapes)
    shown = _shapes(model, inputs) if inputs else {}
    rows: list[Row] = []
    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        rows.append(
            Row(
                name=name.rpartition(".")[2],
                depth=name.count(".") + 1 if name else 0,
                type=type(module).__name__,
                output_shape=shown.get(id(module), "-"),
                parameters=sum(p.size for p in own),
                trainable=sum(p.size for p in own if p.requires_grad),
            )
        )
    tensors = [*model.parameters(), *model.buffers()]
    convolves = any(isinstance(m, Convolution) for m in model.modules())
    return Summary(
        rows=tuple(rows),
        parameters=sum(r.parameters for r in rows),
        trainable=sum(r.trainable for r in rows),
        buffers=sum(t.size for t in model.buffers()),
        size_mb=sum(t.array.nbytes for t in tensors) / 1e6,
        convolution=convolution_by() if convolves else "",
    )


def _shapes(model: Module, inputs: Sequence[Any]) -> dict[int, str]:
    found: dict[int, str] = {}

    def look(module: Module, args: object, output: object) -> None:
        found[id(module)] = _shape_of(output)

    handles = [m.register_forward_hook(look) for m in model.modules()]
    try:
        with _evaluating(model), no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    before = [(m, m.training) for m in model.modules()]
    try:
        for m, _ in before:
            m.training = False
        yield
    finally:
        for m, training in before:
            m.training = training


def _shape_of(output: object) -> str:
    if isinstance(output, Tensor | np.ndarray):
        return str(output.shape)
    if isinstance(output, tuple | list):
        return ", ".join(map(_shape_of, output))
    if isinstance(output, dict):
        return ", ".join(f"{k}: {_shape_of(v)}" for k, v in output.items())
    return type(output).__name__


def _cells(row: Row) -> tuple[str, ...]:
    name = "  " * row.depth + (row.name or "(model)")
    numbers = (f"{row.parameters:,}", f"{row.trainable:,}")
    return (name, row.type, row.output_shape, *(n if row.parameters else "-" for n in numbers))

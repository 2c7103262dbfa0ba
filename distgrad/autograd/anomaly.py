"""detect_anomaly: stops at the first non-finite value and says which line of the user's made it."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from distgrad.autograd.mode import rank_label, watching
from distgrad.autograd.node import Node, Recordable
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import NonFiniteError

_PACKAGE = str(Path(__file__).resolve().parents[1])


@contextmanager
def detect_anomaly(enabled: bool = True) -> Iterator[None]:
    """Raise NonFiniteError at the first NaN or infinity, in forward or backward.

    The message names the op, the shapes, the rank and the line of the user's that called it. A
    value counts as made by an op if the op's inputs were free of it: an infinity that was put in
    on purpose (a mask) passes, a NaN never. Every operation is checked and every array that
    backward will read is compared whole: some times slower, so for the hunt only.
    """
    token = watching.set(_Watch() if enabled else None)
    try:
        yield
    finally:
        watching.reset(token)


class _Watch:
    """Looks at what every op was given and made."""

    records = False
    entire = True
    """Whether arrays that backward reads are kept whole, to be compared."""

    def before_forward(self, op: Recordable) -> None:
        """Wait for what it makes."""

    def after_forward(
        self,
        op: Recordable,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        values: Sequence[Any],
        node: Node | None,
    ) -> None:
        """Raise if an output is the first non-finite value."""
        if node is not None:
            node.origin = users_line()
        worst = _worst([*inputs, *attributes.values()])
        for value in values:
            if _severity(value) > worst:
                _report("forward", op, inputs, f"made {_describe(value)}", users_line())
        if worst == _NAN:
            name, x = next(
                (n, x) for n, x in _named(op, inputs, attributes) if _severity(x) == _NAN
            )
            _report("forward", op, inputs, f"was given '{name}' with {_describe(x)}", users_line())

    def after_backward(
        self,
        node: Node,
        number: int,
        gradient: Array | Tensor,
        incoming: Sequence[Array | Tensor | None],
    ) -> None:
        """Raise if a gradient that ``node`` computed is the first non-finite one."""
        severity = _severity(gradient)
        if severity and severity > _worst(incoming):
            name = _name(node.op, number)
            _report(
                "backward",
                node.op,
                [
                    e[1] if e[2] == -1 or isinstance(e[1], Tensor) else None
                    for e in node.edges or ()
                ],
                f"made the gradient to '{name}' {_describe(gradient)}",
                node.origin,
            )


_FINE, _INFINITE, _NAN = range(3)


def _data(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def _severity(x: Any) -> int:
    a = np.asarray(_data(x)) if isinstance(x, Tensor | np.ndarray | np.generic | float) else None
    if a is None or a.dtype.kind not in "fc" or bool(np.isfinite(a).all()):
        return _FINE
    return _NAN if bool(np.isnan(a).any()) else _INFINITE


def _worst(values: Sequence[Any]) -> int:
    return max([_severity(v) for v in values], default=_FINE)


def _named(
    op: Recordable, inputs: Sequence[Any], attributes: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    for i, x in enumerate(inputs):
        yield _name(op, i), x
    yield from attributes.items()


def _name(op: Recordable, i: int) -> str:
    return op.inputs[min(i, len(op.inputs) - 1)] if op.inputs else str(i)


def _describe(x: object) -> str:
    a = np.asarray(_data(x))
    bad = ~np.isfinite(a)
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    where = f" at index {at}" if at else ""
    return (
        f"{a[at]}{where} of shape {a.shape} ({int(np.count_nonzero(bad))} of {a.size} elements "
        f"are not finite)"
    )


def _report(
    phase: str, op: Recordable, inputs: Sequence[Any], what: str, line: str | None
) -> NoReturn:
    given = ", ".join(
        f"{_name(op, i)} {_range(_data(x))}"
        for i, x in enumerate(inputs)
        if isinstance(_data(x), np.ndarray | np.generic)
    )
    raise NonFiniteError(
        f"{rank_label.get()}the first non-finite value of the {phase} pass: {op.name} {what}; "
        f"its inputs: {given or 'on the tape'}; {line or 'called outside detect_anomaly'}"
    )


def _range(a: Any) -> str:
    a = np.asarray(a)
    if a.dtype.kind != "f" or not a.size:
        return f"{a.shape} {a.dtype}"
    finite = a[np.isfinite(a)]
    span = f" in [{finite.min():.3g}, {finite.max():.3g}]" if finite.size else ""
    return f"{a.shape} {a.dtype}{span}"


def users_line(skip: Callable[[str], bool] = lambda f: f.startswith(_PACKAGE)) -> str:
    """Return 'file:line in function: text' of the innermost frame outside distgrad."""
    frame = sys._getframe(1)
    found = frame
    while frame is not None:
        found = frame
        if not skip(frame.f_code.co_filename):
            break
        frame = frame.f_back  # type: ignore[assignment]
    name, number = found.f_code.co_filename, found.f_lineno
    text = linecache.getline(name, number).strip()
    return f"{name}:{number} in {found.f_code.co_name}: {text}"

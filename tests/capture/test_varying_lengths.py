"""Lengths that depend on values: how many a mask picks is followed, or refused, never stale.

The first two calls pick as many, so that the second recording finds no difference; then as many as
each call's seed says. A replay has the eager step's bits or raises.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad.nn import functional as F

CALLS = 6
MORE: list[tuple[Any, ...]] = [(), (2,), (0,), (0.5,), ("itself",), (0, 1), (-1,)]
SPACES = {"dg": dg, "functional": F, "special": dg.special, "linalg": dg.linalg, "fft": dg.fft}
WALKED = (
    "distgrad.functions.",
    "distgrad.nn.functional.",
    "distgrad.ops.",
    "distgrad.autograd.methods.",
)
SWITCHES = "distgrad.functions.switches"  # what they change stays changed


def drawn(call: int, columns: int = 3) -> tuple[dg.Tensor, dg.Tensor]:
    """Return numbers and a mask of some rows."""
    rng = np.random.default_rng(call)
    values, mask = rng.uniform(0.1, 2, (9, columns)), np.arange(9) < (5 if call < 2 else 4 + call)
    rng.shuffle(mask)
    return dg.tensor(values), dg.tensor(mask)


def compare(step: Callable[..., Any], columns: int = 3) -> None:
    """Compare each call's bits with the eager step's; what is raised is the caller's."""
    captured = dg.capture(step)
    for call in range(CALLS):
        given = drawn(call, columns)
        dg.manual_seed(call)
        wanted = step(*given).array
        dg.manual_seed(call)
        np.testing.assert_array_equal(captured(*given).array, wanted)


FOLLOWED: dict[str, Callable[[Any], Any]] = {
    "mean": lambda y: y.mean(),
    "std": lambda y: y.std(),
    "losses": lambda y: F.mse_loss(y, y * 2) + F.l1_loss(y, y * 2) + F.huber_loss(y, y * 2),
    "cross_entropy": lambda y: F.cross_entropy(y, y.argmax(1)),
    "columns": lambda y: y.sum() / y.shape[1],
    "columns by size": lambda y: y.sum() / y.size(1),
    "columns by unpacking the rest": lambda y: y.reshape(-1, y.shape[-1] * 2 // 2).sum(),
    "axes": lambda y: y.sum() / y.ndim,
    "cat": lambda y: dg.cat((y, y * 2)).sum(0).mean(),
    "rows of another": lambda y: y[y[:, 0] > 1].sum(),
}
READ: dict[str, Callable[[Any], Any]] = {
    "len": lambda y: y.sum() / len(y),
    "shape": lambda y: y.sum() / y.shape[0],
    "unpacked": lambda y: y.sum() / next(iter(y.shape)),
    "shape from the end": lambda y: y.sum() / y.shape[-2],
    "slice of shape": lambda y: y.sum() / y.shape[:1][0],
    "equal shapes": lambda y: y.sum() * (y.shape == (5, 3)),
    "size()": lambda y: y.sum() / y.size(0),
    "size": lambda y: y.sum() / y.size,
    "numel": lambda y: y.sum() / y.numel(),
    "np.size": lambda y: y.sum() / np.size(y),
    "np.shape": lambda y: y.sum() / np.shape(y)[0],
    "arange": lambda y: (y[:, 0] * dg.arange(y.shape[0])).sum(),
    "rows": lambda y: sum(row.sum() for row in y),
    "chunk": lambda y: y.chunk(2)[0].sum(),
    "batchmean": lambda y: F.kl_div(y, y * 2, reduction="batchmean"),
    "nonzero": lambda y: y.sum() / dg.nonzero(y[:, 0] > 0).shape[0],
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_needs_no_number_is_followed(name: str) -> None:
    compare(lambda x, mask: FOLLOWED[name](x[mask] * 1.5))


@pytest.mark.parametrize("name", READ)
def test_a_length_that_was_read_is_compared_in_each_replay(name: str) -> None:
    with pytest.raises(dg.CaptureError, match=r"length was read as a number, which was 5 .* now"):
        compare(lambda x, mask: READ[name](x[mask] * 1.5))


def test_the_line_that_reads_it_is_named() -> None:
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    step = dg.capture(lambda x, mask: x[mask].sum() / len(x[mask]))
    for call in (0, 1):
        step(*drawn(call))
    with pytest.raises(dg.CaptureError, match=f"test_varying_lengths.py:{line}"):
        step(*drawn(2))


def test_lengths_of_what_does_not_vary_are_nobodys_concern() -> None:
    captured = dg.capture(
        lambda x, mask: (x * x.shape[0]).reshape(len(x), -1).sum() + x[mask].sum()
    )
    for call in range(CALLS):
        captured(*drawn(call))
    assert not any(line.kind == "size" for line in captured.program.lines)  # type: ignore[union-attr]


def outcome(function: Callable[..., Any], more: tuple[Any, ...], columns: int) -> str:
    """Walk one function: "stale" is what must not be."""

    def step(x: Any, mask: Any) -> Any:
        y = x[mask] if columns > 1 else x[mask][:, 0]
        found = function(y, *[y * 2 if m == "itself" else m for m in more])
        parts = found if isinstance(found, tuple | list) else (found,)
        sums = [p.double().sum() for p in parts if p.dtype.kind in "fiub"]
        return dg.stack(sums).sum()

    try:
        step(*drawn(0, columns))
    except Exception:
        return "no function of one tensor"
    try:
        compare(step, columns)
    except AssertionError:
        return "stale"
    except Exception:
        return "refused"
    return "followed"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("space", [*SPACES, "methods"])
def test_no_function_goes_on_with_the_lengths_of_the_first_call(space: str) -> None:
    owner: Any = dg.Tensor if space == "methods" else SPACES[space]
    found: dict[tuple[str, Any, int], str] = {}
    for name in sorted(dir(owner)):
        function = None if name.strip("_") != name else getattr(owner, name, None)
        home = getattr(function, "__module__", None) or ""
        if inspect.isclass(function) or not home.startswith(WALKED) or home == SWITCHES:
            continue
        for more in MORE:
            for columns in (1, 3):
                found[name, more, columns] = outcome(function, more, columns)
    assert [key for key, how in found.items() if how == "stale"] == []
    assert len([how for how in found.values() if how == "followed"]) > 20

"""``vmap``: a function of one sample, applied to a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from distgrad.autograd.nested import flatten, rebuild
from distgrad.autograd.stream import at_position, position
from distgrad.autograd.tensor import Tensor
from distgrad.errors import ShapeError


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Return a function that applies ``func`` to each slice of its arguments.

    It is a loop: ``func`` runs once for every sample, on slices along ``in_dims`` (a number, None
    for an argument that all samples share, or a structure of them like the arguments'), and the
    results are stacked along ``out_dims``. So it is right for every function, and as slow as the
    loop; write batches with matmul and broadcasting where speed counts. It nests, and composes with
    grad, jacobian and the others. ``randomness`` is "error" (a ``func`` that draws random numbers
    raises), "different" (for each sample) or "same". ``chunk_size`` changes nothing here.
    Errors: ShapeError (a ValueError) for dims that do not fit the arguments or the results.
    """
    if randomness not in {"error", "different", "same"}:
        raise ShapeError(
            f"Only allowed values for randomness are 'error', 'different', or 'same'. "
            f"Got {randomness}"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ShapeError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    def mapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten(args)
        dims = _in_dims(in_dims, args, structure, len(leaves))
        count = _batch_size(leaves, dims)
        start = position()
        outs: list[list[Any]] = []
        shape: Any = None
        for i in range(count):
            given = [_slice(x, d, i) for x, d in zip(leaves, dims, strict=True)]
            # The first sample draws for all: what is drawn after vmap is new.
            again = at_position(start) if randomness == "same" and i else nullcontext()
            with again, _watched() if randomness == "error" else nullcontext():
                value = func(*rebuild(structure, given), **kwargs)
            found, shape = flatten(value)
            for v in found:
                if not isinstance(v, Tensor | np.ndarray | np.generic):
                    raise ShapeError(
                        f"vmap: `func` must only return Tensors, got type {type(v).__name__}"
                    )
            outs.append(found)
        if not outs:
            raise ShapeError(
                "vmap: the mapped dimension has length 0, so that the shape of the result is "
                "unknown; skip empty batches"
            )
        places = _out_dims(out_dims, shape, len(outs[0]))
        stacked = []
        for k, place in enumerate(places):
            whole: Any = np.stack([o[k] for o in outs], axis=place)
            stacked.append(whole if isinstance(whole, Tensor) else Tensor(whole))
        return rebuild(shape, stacked)

    return mapped


@contextmanager
def _watched() -> Iterator[None]:
    before = position().call
    yield
    if position().call != before:
        raise ShapeError(
            "vmap: called random operation while in randomness error mode. Please either use the "
            "'same' or 'different' randomness flags on vmap or perform the randomness operation "
            "out of vmap"
        )


def _in_dims(in_dims: Any, args: Any, structure: Any, count: int) -> list[int | None]:
    """One dim for each leaf: ``in_dims`` spread over the arguments' structure."""
    if not args:
        raise ShapeError(
            "vmap: got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
            "function with no inputs. The latter is unsupported."
        )
    if isinstance(in_dims, int):
        return [in_dims] * count
    if not isinstance(in_dims, tuple | list):
        raise ShapeError(
            f"vmap: expected `in_dims` to be int or a (potentially nested) tuple matching the "
            f"structure of inputs, got: {type(in_dims).__name__}."
        )
    found = _spread(in_dims, args)
    if found is None or len(found) != count:
        raise ShapeError(
            f"vmap: in_dims {in_dims} is not compatible with the structure of inputs {structure}"
        )
    if all(d is None for d in found):
        raise ShapeError(
            "vmap: in_dims has no dimension to map over: at least one must be a number, not None"
        )
    return found


def _spread(dims: Any, tree: Any) -> list[int | None] | None:
    if dims is None or isinstance(dims, int):
        return [dims] * len(flatten(tree)[0])
    parts: list[tuple[Any, Any]]
    if isinstance(dims, dict) and isinstance(tree, dict) and dims.keys() == tree.keys():
        order = sorted(tree, key=lambda key: (type(key).__name__, key))  # as flatten's
        parts = [(dims[k], tree[k]) for k in order]
    elif isinstance(dims, tuple | list) and isinstance(tree, tuple | list):
        if len(dims) != len(tree):
            return None
        parts = list(zip(dims, tree, strict=True))
    else:
        return None
    found: list[int | None] = []
    for d, t in parts:
        inner = _spread(d, t)
        if inner is None:
            return None
        found += inner
    return found


def _batch_size(leaves: list[Any], dims: list[int | None]) -> int:
    sizes: list[int] = []
    for x, d in zip(leaves, dims, strict=True):
        if d is None:
            continue
        shape = np.shape(x.array if isinstance(x, Tensor) else x)
        if not isinstance(x, Tensor | np.ndarray):
            raise ShapeError(
                f"vmap: Got in_dim={d} for an input but the input is of type {type(x).__name__}. "
                f"We cannot vmap over non-Tensor arguments, please use None as the respective "
                f"in_dim"
            )
        if not -len(shape) <= d < len(shape):
            raise ShapeError(
                f"vmap: Got in_dim={d} for some input, but that input is a Tensor of "
                f"dimensionality {len(shape)} so expected in_dim to satisfy "
                f"-{len(shape)} <= in_dim < {len(shape)}."
            )
        sizes.append(shape[d])
    if not sizes:
        raise ShapeError("vmap: got no Tensor inputs to map over")
    if len(set(sizes)) > 1:
        raise ShapeError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return sizes[0]


def _slice(x: Any, dim: int | None, i: int) -> Any:
    if dim is None:
        return x
    axis = dim % len(np.shape(x.array if isinstance(x, Tensor) else x))
    taken = x[(*(slice(None),) * axis, i)]
    return taken if isinstance(taken, Tensor) else Tensor(np.asarray(taken))


def _out_dims(out_dims: Any, shape: Any, count: int) -> list[int]:
    if isinstance(out_dims, int):
        return [out_dims] * count
    found: list[Any] = flatten(out_dims)[0] if isinstance(out_dims, tuple | list | dict) else [None]
    if len(found) == 1 and count > 1:
        found = found * count
    if len(found) != count or not all(isinstance(d, int) for d in found):
        raise ShapeError(
            f"vmap: out_dims {out_dims} is not compatible with the structure of the result {shape}:"
            f" one whole number for each Tensor"
        )
    return found

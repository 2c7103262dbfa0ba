"""Sequences of different lengths: packed one step after the other, or padded to one length.

A packed batch holds, for each step, the rows of the sequences that are still running, the longest
first; recurrent layers then compute nothing for padding. Names and results are PyTorch's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.nn.functional.wrap import wrap
from distgrad.ops.helpers import integers


class _Parts(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Parts):
    """What ``pack_padded_sequence`` and ``pack_sequence`` return; recurrent layers take it.

    ``data`` is (Σ lengths, …), step by step; ``batch_sizes`` says how many sequences are running in
    each step. The order is that of ``sorted_indices`` of the given batch (None: the given one),
    ``unsorted_indices`` leads back.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: TensorLike,
        batch_sizes: TensorLike | None = None,
        sorted_indices: TensorLike | None = None,
        unsorted_indices: TensorLike | None = None,
    ) -> PackedSequence:
        """Put the parts together. Errors: ShapeError without ``batch_sizes``."""
        if batch_sizes is None:
            raise ShapeError(
                "PackedSequence needs batch_sizes; pack_padded_sequence and pack_sequence make one"
            )
        order = None if sorted_indices is None else wrap(sorted_indices)
        back = invert_permutation(order) if unsorted_indices is None else wrap(unsorted_indices)
        return super().__new__(cls, wrap(data), wrap(batch_sizes), order, back)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Convert ``data``: a dtype; a device has to be the CPU."""
        wanted = [a for a in (*args, *kwargs.values()) if a is not None and str(a) != "cpu"]
        return self if not wanted else self._replace_data(self.data.astype(wanted[-1]))

    def cpu(self) -> PackedSequence:
        """Return it: it is there."""
        return self

    @property
    def is_cuda(self) -> bool:
        """False."""
        return False

    def _replace_data(self, data: Tensor) -> PackedSequence:
        return PackedSequence(data, *self[1:])

    def float(self) -> PackedSequence:
        """``to(np.float32)``."""
        return self.to(np.float32)

    def double(self) -> PackedSequence:
        """``to(np.float64)``."""
        return self.to(np.float64)


def invert_permutation(permutation: TensorLike | None) -> Tensor | None:
    """Return the permutation that undoes ``permutation``; None for None."""
    if permutation is None:
        return None
    order = integers(permutation, "a permutation")
    back = np.empty_like(order)
    back[order] = np.arange(len(order), dtype=order.dtype)
    return Tensor(back)


def pack_padded_sequence(
    input: TensorLike, lengths: TensorLike, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack padded sequences (t, b, …), with ``batch_first`` (b, t, …), of ``lengths`` (b).

    The longest comes first; unless ``enforce_sorted`` they are sorted here, and results come back
    in the given order. Errors: ShapeError for lengths that do not fit, or are not sorted.
    """
    x: Any = wrap(input)
    if x.ndim < 2:
        raise ShapeError(f"pack_padded_sequence takes (t, b, …) or (b, t, …); got {x.shape}")
    x = np.swapaxes(x, 0, 1) if batch_first else x
    t, b = x.shape[:2]
    count = _lengths("pack_padded_sequence", lengths, b)
    if b and (count.min() < 1 or count.max() > t):
        raise ShapeError(
            f"pack_padded_sequence: lengths are from 1 to the {t} steps of the input; got "
            f"{count.tolist()}"
        )
    order = None
    if not enforce_sorted:
        order = np.argsort(-count, kind="stable")
        count, x = count[order], x[:, order]
    elif np.any(count[1:] > count[:-1]):
        raise ShapeError(
            f"pack_padded_sequence: lengths fall from the first on; got {count.tolist()}: pass "
            f"enforce_sorted=False to have them sorted"
        )
    # An empty shard's batch has as many steps as its array: layers want at least one.
    steps = int(count.max(initial=0)) if b else t
    running = np.sum(count > np.arange(steps)[:, None], axis=1)
    rows = np.concatenate([s * b + np.arange(n) for s, n in enumerate(running)] or [running])
    data = np.reshape(x, (t * b, *x.shape[2:]))[rows.astype(np.intp)]
    return PackedSequence(data, Tensor(running.astype(np.int64)), order)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return padded sequences (t, b, …), or (b, t, …), in the given order, and their lengths (b).

    t is the longest, or ``total_length``. Errors: ShapeError if that is shorter.
    """
    running = sequence.batch_sizes.array
    steps, b = len(running), int(running[0]) if len(running) else 0
    if total_length is not None and total_length < steps:
        raise ShapeError(
            f"pad_packed_sequence: total_length={total_length} is shorter than the longest "
            f"sequence, of {steps} steps"
        )
    held = np.arange(b) < running[:, None]  # steps b
    starts = np.cumsum(running) - running
    rows = np.where(held, starts[:, None] + np.arange(b), 0)
    more = (steps if total_length is None else total_length) - steps
    rows, held = (np.pad(a, [(0, more), (0, 0)]) for a in (rows, held))
    lengths = held.sum(axis=0)
    if sequence.unsorted_indices is not None:
        back = sequence.unsorted_indices.array
        rows, held, lengths = rows[:, back], held[:, back], lengths[back]
    if batch_first:
        rows, held = rows.T, held.T
    padded = _laid_out(sequence.data, rows, held, padding_value)
    return padded, Tensor(lengths.astype(np.int64))


def pad_sequence(
    sequences: Sequence[TensorLike],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences (length, …) to (t, b, …), or (b, t, …), padded to the longest.

    Errors: ShapeError for no sequence, or rows of different shapes.
    """
    if padding_side not in {"left", "right"}:
        raise ShapeError(f"pad_sequence: padding_side is 'left' or 'right'; got {padding_side!r}")
    parts = _sequences("pad_sequence", sequences)
    count = np.array([len(p) for p in parts])
    t = int(count.max())
    at = np.arange(t) - (t - count[:, None] if padding_side == "left" else 0)  # b t
    held = (at >= 0) & (at < count[:, None])
    rows = np.where(held, at + (np.cumsum(count) - count)[:, None], 0)
    if not batch_first:
        rows, held = rows.T, held.T
    return _laid_out(np.concatenate(parts), rows, held, padding_value)


def pack_sequence(sequences: Sequence[TensorLike], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (length, …). Errors: as ``pack_padded_sequence``."""
    parts = _sequences("pack_sequence", sequences)
    lengths = np.array([len(p) for p in parts])
    return pack_padded_sequence(pad_sequence(parts), lengths, enforce_sorted=enforce_sorted)


def unpad_sequence(
    padded_sequences: TensorLike, lengths: TensorLike, batch_first: bool = False
) -> list[Tensor]:
    """Return the sequences (length, …) of a padded batch (t, b, …), or (b, t, …)."""
    x: Any = wrap(padded_sequences)
    x = x if batch_first else np.swapaxes(x, 0, 1)
    count = _lengths("unpad_sequence", lengths, len(x))
    return [row[: int(n)] for row, n in zip(x, count, strict=True)]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Return the sequences (length, …) of a packed batch, in the given order."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def segments(batch_sizes: Array) -> Iterator[tuple[int, int, int]]:
    """Yield (first row, steps, running) of the runs of steps with as many sequences running."""
    changes = np.flatnonzero(np.diff(batch_sizes)) + 1
    bounds = [0, *changes.tolist(), len(batch_sizes)]
    row = 0
    for start, stop in itertools.pairwise(bounds):
        running = int(batch_sizes[start])
        yield row, stop - start, running
        row += (stop - start) * running


def _laid_out(data: Any, rows: Array, held: Array, padding: float) -> Tensor:
    """Rows of ``data`` where ``held``, the padding elsewhere."""
    found = data[fixed(rows.astype(np.intp))]
    mask = fixed(held.reshape(held.shape + (1,) * (found.ndim - held.ndim)))
    if held.all():
        result: Tensor = found
    else:
        result = np.where(mask, found, fixed(np.asarray(padding, found.dtype)))  # type: ignore[assignment]
    return result


def _lengths(name: str, lengths: TensorLike, b: int) -> Array:
    count = integers(lengths, f"{name}: lengths")
    if count.shape != (b,):
        raise ShapeError(f"{name}: a batch of {b} needs as many lengths; got shape {count.shape}")
    return count


def _sequences(name: str, sequences: Sequence[TensorLike]) -> list[Any]:
    parts = [wrap(s) for s in sequences]
    if not parts:
        raise ShapeError(f"{name} takes at least one sequence; got none")
    shapes = {p.shape[1:] for p in parts}
    if any(p.ndim == 0 for p in parts) or len(shapes) > 1:
        raise ShapeError(
            f"{name}: sequences are (length, …) with equal axes behind the first; got "
            f"{[p.shape for p in parts]}"
        )
    return parts

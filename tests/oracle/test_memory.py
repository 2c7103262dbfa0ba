"""Whose memory a result lies in: written to in place, it changes what PyTorch's would."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from op_db import CLEAR, OP_DB, _converted, in_words, name_of, torch
from op_db_walk import RANDOM, ours_of

from distgrad import Tensor

SAMPLES = 6
SHARES = "ours lies in an input's memory"
APART = "ours is a copy"
FIXED = "ours is read-only"
DIFFERENT = {
    "unfold": (APART, "windows that overlap are copied: gradients of views go back by copies"),
    "triangular_solve": (SHARES, "its second result is the matrix that it was given"),
    "histogram": (SHARES, "its second result is the bins that it was given"),
    "ravel": (SHARES, "an array that is contiguous here, and not in PyTorch"),
    "sum_to_size": (SHARES, "nothing is summed"),
    "nn.functional.pixel_shuffle": (SHARES, "nothing is moved by a factor of 1"),
    "nn.functional.pixel_unshuffle": (SHARES, "nothing is moved by a factor of 1"),
    **dict.fromkeys(("to", "double"), (SHARES, "there is no memory_format to copy for")),
}
"""The functions that differ, how, and why."""


def found(op: Any) -> Iterator[tuple[str, str]]:
    """In what ours differs, and a sample's arguments, as function and as method."""
    forms = [(op.op, ours_of(op))]
    if op.method_variant is not None and hasattr(Tensor, op.name):
        forms.append((op.method_variant, getattr(Tensor, op.name)))
    torch.manual_seed(0)
    samples = op.sample_inputs("cpu", torch.float64, requires_grad=False)
    for sample in itertools.islice(samples, SAMPLES):
        for theirs, ours in forms:
            if ours is None:
                continue
            twins: dict[int, Tensor] = {}
            given = [_converted(x, twins) for x in (sample.input, sample.args, sample.kwargs)]
            try:
                wanted = theirs(sample.input, *sample.args, **sample.kwargs)
                result = ours(given[0], *given[1], **given[2])
            except (*CLEAR, AttributeError, RuntimeError):  # what is refused is compared elsewhere
                continue
            storages = {
                t.untyped_storage().data_ptr()
                for t in tensors((sample.input, sample.args, sample.kwargs))
                if t.numel()
            }
            arrays = [t.array for t in tensors(given)]
            for one, other in zip(tensors(result), tensors(wanted), strict=False):
                shares = other.untyped_storage().data_ptr() in storages
                if what := difference(one.array, other, shares, arrays):
                    yield what, in_words(sample)


def difference(a: Any, other: Any, shares: bool, inputs: list[Any]) -> str | None:
    if not a.size:
        return None
    if any(np.shares_memory(a, x) for x in inputs) != shares:
        return APART if shares else SHARES
    # What was broadcast has its elements several times; PyTorch refuses to write to it, too.
    several = any(n > 1 and not step for n, step in zip(other.shape, other.stride(), strict=True))
    return None if a.flags.writeable or several else FIXED


def tensors(x: Any) -> list[Any]:
    if isinstance(x, torch.Tensor | Tensor):
        return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple) else ()
    return [t for part in parts for t in tensors(part)]


CASES = [
    op for op in OP_DB if torch.float64 in op.supported_dtypes("cpu") and op.name not in RANDOM
]


@pytest.mark.filterwarnings("ignore")
def test_a_result_lies_in_the_memory_that_pytorchs_does():
    # One test for all: to set up a test costs more than to walk an op's samples.
    unknown, met = [], set()
    for op in CASES:
        known = DIFFERENT.get(op.name, (None,))[0]
        for what, words in found(op):
            if what == known:
                met.add(op.name)
            else:
                unknown.append((name_of(op), what, words))
    assert unknown == []
    assert met == set(DIFFERENT)

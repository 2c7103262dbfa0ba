"""Fused attention: any sizes, masks and layouts; the same bits whatever the processor's vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from processors import check_bits_without_avx512, on_x86

import distgrad as dg
from distgrad import ops
from distgrad.nn import functional as F

pytest.importorskip("numba", reason="fused kernels need numba")
from distgrad.kernels import attend

OP = ops.scaled_dot_product_attention


def arrays(*shapes: tuple[int, ...], dtype: Any = np.float32) -> list[np.ndarray[Any, Any]]:
    return [
        np.random.default_rng(i).normal(size=shape).astype(dtype) for i, shape in enumerate(shapes)
    ]


def compare(given: Any, mask: Any, g: Any, **settings: Any) -> None:
    """Compare the kernel's values and gradients with those of the reference in float64."""
    wanted = (True, True, True, mask is not None and mask.dtype != bool)
    found = attend.scaled_dot_product_attention(*given, mask, **settings)
    assert found is not None, "the kernel does not take them"
    wide = [a.astype(np.float64) for a in given]
    added = mask.astype(np.float64) if wanted[3] else mask
    exact = OP.function(*wide, added, **settings)
    pairs = [(found[0], exact[0])]
    pairs += zip(
        found[1].function(wanted, g), exact[1].function(wanted, g.astype(np.float64)), strict=True
    )
    tolerance = 1e-5 if given[0].dtype == np.float32 else 1e-13
    for ours, theirs in pairs:
        if theirs is not None:
            assert ours.dtype == given[0].dtype
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize(
    ("t", "s", "d", "e"),
    [
        (1, 1, 1, 1),
        (3, 5, 7, 4),
        (63, 65, 16, 16),
        (65, 63, 17, 3),
        (130, 7, 33, 32),
        (9, 300, 8, 5),
    ],
)
def test_any_sizes(t: int, s: int, d: int, e: int, is_causal: bool, dtype: Any) -> None:
    *given, g = arrays((2, 3, t, d), (2, 3, s, d), (2, 3, s, e), (2, 3, t, e), dtype=dtype)
    compare(given, None, g, is_causal=is_causal)


@pytest.mark.parametrize("is_causal", [False, True], ids=["all", "causal"])
@pytest.mark.parametrize(
    "shape", [(19,), (1, 19), (17, 1), (17, 19), (3, 17, 19), (2, 1, 1, 19), (2, 1, 17, 1)], ids=str
)
def test_masks_of_numbers_and_their_gradients(shape: tuple[int, ...], is_causal: bool) -> None:
    *given, g, mask = arrays((2, 3, 17, 5), (2, 3, 19, 5), (2, 3, 19, 6), (2, 3, 17, 6), shape)
    compare(given, mask, g, is_causal=is_causal)
    compare(given, mask > 0, g, is_causal=is_causal)


def test_keys_that_all_heads_share_are_read_once_more_for_each() -> None:
    *given, g = arrays((2, 3, 17, 5), (2, 1, 19, 5), (1, 19, 6), (2, 3, 17, 6))
    compare(given, None, g)


@pytest.mark.parametrize(
    "shapes",
    [((3, 5), (4, 6), (4, 5)), ((3, 5), (4, 5), (3, 5)), ((2, 3, 5), (3, 4, 5), (4, 5))],
    ids=["widths", "keys", "leading axes"],
)
def test_shapes_that_do_not_fit_are_refused_before_memory_is_looked_at(shapes: Any) -> None:
    with pytest.raises(dg.ShapeError):
        OP(*arrays(*shapes), None)


def test_a_query_that_sees_no_key_gets_zeros_and_gives_none_back() -> None:
    *given, g = arrays((1, 3, 5), (1, 3, 5), (1, 3, 5), (1, 3, 5))
    mask = np.array([[True, False, True], [False, False, False], [True, True, True]])
    y, closure = attend.scaled_dot_product_attention(*given, mask)  # type: ignore[misc]
    dq, *_ = closure.function((True, True, True, False), g)
    assert not y[0, 1].any()
    assert not dq[0, 1].any()
    assert y[0, 0].all()


@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_nan_and_infinity_reach_the_queries_that_see_them(what: float) -> None:
    q, k, v = arrays((1, 70, 5), (1, 70, 5), (1, 70, 5))
    q[0, 3] = what
    y, _ = attend.scaled_dot_product_attention(q, k, v, None, is_causal=True)  # type: ignore[misc]
    assert not np.isfinite(y[0, 3]).any()
    assert np.isfinite(np.delete(y[0], 3, 0)).all()


def test_what_comes_out_lies_in_memory_as_the_queries_do() -> None:
    b, t, h, d = 2, 6, 3, 5
    (qkv,) = arrays((b, t, 3, h, d))
    q, k, v = (qkv.transpose(2, 0, 3, 1, 4)[i] for i in range(3))
    y, closure = attend.scaled_dot_product_attention(q, k, v, None)  # type: ignore[misc]
    assert y.transpose(0, 2, 1, 3).flags.c_contiguous, "heads are put together by a copy"
    for grad in closure.function((True, True, True, False), y)[:3]:
        assert grad.transpose(0, 2, 1, 3).flags.c_contiguous


def test_a_captured_step_has_eagers_bits_with_heads_in_any_layout() -> None:
    def step(qkv: Any, mask: Any) -> Any:
        q, k, v = np.split(qkv.transpose(2, 0, 3, 1, 4), 3)
        y = F.scaled_dot_product_attention(q[0], k[0], v[0], attn_mask=mask)
        return [y, *dg.autograd.grad((y * y).sum(), [qkv, mask])]

    captured = dg.capture(step)
    for i in range(4):
        rng = np.random.default_rng(i)
        shapes = (2, 70, 3, 3, 5), (2, 1, 1, 70)
        given = [dg.Tensor(rng.normal(size=s).astype("f4"), requires_grad=True) for s in shapes]
        for found, wanted in zip(captured(*given), step(*given), strict=True):
            assert found.array.tobytes() == wanted.array.tobytes()


def test_the_same_weights_for_several_values_have_the_references_gradients() -> None:
    given = arrays((2, 3, 4), (2, 5, 4), (3, 2, 5, 4))

    def gradients() -> list[Any]:
        tensors = [dg.Tensor(a, requires_grad=True) for a in given]
        y = F.scaled_dot_product_attention(*tensors)
        y.backward(np.arange(y.size, dtype=np.float32).reshape(y.shape))
        return [t.grad.array for t in tensors if t.grad is not None]

    found = gradients()
    with dg.reference_kernels():
        wanted = gradients()
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-4, atol=1e-4)


PROGRAM = """
import hashlib, numpy as np
from distgrad.kernels import attend, tiles
a = [np.random.default_rng(i).normal(size=(2, 70, 19)).astype(np.float32) for i in range(4)]
y, closure = attend.scaled_dot_product_attention(*a[:3], None, is_causal=True)
found = [y, *closure.function((True, True, True, False), a[3])[:3]]
print(tiles.ROWS, hashlib.sha256(b"".join(x.tobytes() for x in found)).hexdigest())
"""


@pytest.mark.slow
@on_x86
def test_processors_with_and_without_avx512_give_the_same_bits(tmp_path: Any) -> None:
    check_bits_without_avx512(PROGRAM, tmp_path)

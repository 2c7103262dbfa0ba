"""Products of narrow matrices in registers: right, and the same bits wherever they are."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, ops

pytest.importorskip("numba", reason="numba is not installed: the BLAS multiplies")

from distgrad.kernels import products

SIZES = [  # m, k, n: a column times a row, a vector, parts of vectors, more than one depth
    *[(19, 1, 16), (16, 3, 16), (33, 255, 31), (100, 61, 17), (64, 256, 48), (48, 700, 32)],
    *[(32, 2048, 48), (2048, 32, 3 * 16)],
]


def drawn(m: int, k: int, n: int, dtype: Any = np.float32) -> tuple[Any, Any]:
    rng = np.random.default_rng([m, k, n])
    return rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)


def turned(a: Any) -> Any:
    return np.ascontiguousarray(a.T).T


def strided(a: Any) -> Any:
    wide = np.zeros((a.shape[0], 3 * a.shape[1]), a.dtype)
    wide[:, : a.shape[1]] = a
    return wide[:, : a.shape[1]]


def far_apart(a: Any) -> Any:
    wide = np.zeros((a.shape[0], 700), a.dtype)
    wide[:, 5 : 5 + a.shape[1]] = a
    return wide[:, 5 : 5 + a.shape[1]]


def read_only(a: Any) -> Any:
    a = a.copy()
    a.flags.writeable = False
    return a


FORMS = {
    "turned": turned,
    "strided": strided,
    "far apart": far_apart,
    "every other": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "read-only": read_only,
    "turned, read-only": lambda a: read_only(a.T).T,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize(("m", "k", "n"), SIZES)
def test_a_product_is_right(m: int, k: int, n: int, dtype: Any) -> None:
    a, b = drawn(m, k, n, dtype)
    y = products._in_registers(a, b, None)
    assert (y.shape, y.dtype) == ((m, n), dtype)
    scale = np.finfo(dtype).eps * 4 * k**0.5
    np.testing.assert_allclose(y, a.astype(np.float64) @ b, rtol=scale, atol=scale * k**0.5)


@pytest.mark.parametrize("form", FORMS)
def test_it_has_the_same_bits_wherever_the_matrices_lie(form: str) -> None:
    a, b = drawn(67, 93, 45)
    wanted = products._in_registers(a, b, None)
    other = FORMS[form]
    for x, y in ((other(a), b), (a, other(b)), (other(a), other(b))):
        np.testing.assert_array_equal(products._in_registers(x, y, None), wanted)


@pytest.mark.parametrize(("m", "k", "n"), SIZES)
def test_a_number_has_the_same_bits_in_whatever_block_it_is(m: int, k: int, n: int) -> None:
    a, b = drawn(m, k, n)
    whole = products._in_registers(a, b, None)
    part = products._in_registers(a[-16:], b[:, -16:], None)
    np.testing.assert_array_equal(part, whole[-16:, -16:])


def test_the_result_is_written_where_it_is_wanted() -> None:
    a, b = drawn(401, 64, 48)
    bucket = np.full(7 + 401 * 48 + 5, 3, np.float32)
    out = bucket[7:-5].reshape(401, 48)
    assert products.product(a, b, out) is out
    np.testing.assert_array_equal(out, products.product(a, b))
    assert set(bucket[:7]) == set(bucket[-5:]) == {3}


def test_nan_and_infinity_travel() -> None:
    a, b = drawn(401, 64, 48)
    a[3, 5], b[7, 9] = np.nan, np.inf
    y = products.product(a, b)
    with np.errstate(invalid="ignore"):
        wanted = a.astype(np.float64) @ b
    np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(wanted))


def test_a_step_has_its_products_in_registers_only_if_its_first_one_was_looked_at() -> None:
    rng = np.random.default_rng(5)
    for m, k, n in np.exp(rng.uniform(0, 7, (20_000, 3))).astype(int).tolist():
        pays = [products._pays(*s) for s in ((m, k, k, n), (m, n, n, k), (n, m, m, k))]
        if any(pays):
            assert products._large_enough((m, k), (k, n))
            assert products._large_enough((m, k), (n, k))


@pytest.mark.parametrize("features", [(64, 48), (48, 1), (1, 48), (3, 17)], ids=str)
def test_a_layer_has_its_eager_bits_in_a_captured_step_and_for_read_only_weights(
    features: tuple[int, int],
) -> None:
    x = np.random.default_rng(3).normal(size=(612, features[0])).astype(np.float32)

    def trained(capture: bool, read_only: bool = False) -> Any:
        dg.manual_seed(3)
        model = nn.Sequential(nn.Linear(*features), nn.Tanh(), nn.Linear(features[1], 48))
        optimizer = dg.optim.SGD(model.parameters(), lr=0.1)
        for p in model.parameters():
            p.array.flags.writeable = not read_only

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            return loss

        run = dg.capture(step) if capture else step
        losses = [run(x).array.copy() for _ in range(3)]
        return [*losses, *[p.grad.array.copy() for p in model.parameters()]]

    eager = trained(capture=False)
    for other in (trained(capture=True), trained(capture=False, read_only=True)):
        for one, two in zip(eager, other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_what_is_multiplied_in_registers_is_differentiated_twice() -> None:
    # Under create_graph the closures meet Tensors, which are multiplied as ops.
    x, w = (dg.tensor(a, requires_grad=True) for a in drawn(401, 64, 48, np.float64))
    y = ops.matmul(x, w)
    (first,) = dg.autograd.grad((y * y).sum(), [x], create_graph=True)
    (second,) = dg.autograd.grad((first * first).sum(), [w])
    with dg.reference_kernels():
        y = ops.matmul(x, w)
        (first,) = dg.autograd.grad((y * y).sum(), [x], create_graph=True)
        (wanted,) = dg.autograd.grad((first * first).sum(), [w])
    np.testing.assert_allclose(second.numpy(), wanted.numpy(), rtol=1e-9)


PROGRAM = """
import hashlib
import numpy as np
from distgrad.kernels import products, tiles
found = []
for m, k, n in ((100, 61, 17), (48, 700, 32)):
    rng = np.random.default_rng(m)
    a, b = rng.normal(size=(m, k)).astype("f"), rng.normal(size=(n, k)).astype("f")
    found.append(products._in_registers(a, b.T, None))
print(tiles.ROWS, hashlib.sha256(b"".join(x.tobytes() for x in found)).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of this kind")
def test_processors_with_and_without_avx512_give_the_same_bits(tmp_path: Any) -> None:
    def run(**environment: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "DISTGRAD_CACHE": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    rows, theirs = run(NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2,+fma")
    assert rows == "4"
    assert run()[1] == theirs

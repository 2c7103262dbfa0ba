"""Products without a BLAS: right, and of the same bits wherever the matrices are."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from matrices import FORMS, drawn, read_only, turned
from processors import check_bits_without_avx512, on_x86

import distgrad as dg
from distgrad import kernels, nn, ops

pytest.importorskip("numba", reason="numba is not installed: the BLAS multiplies")

from distgrad.kernels import products

SIZES = [  # m, k, n: a column times a row, a vector, parts of vectors, more than one depth
    *[(19, 1, 16), (16, 3, 16), (33, 255, 31), (100, 61, 17), (64, 256, 48), (48, 700, 32)],
    *[(32, 2048, 48), (2048, 32, 3 * 16)],
]


def in_registers(a: Any, b: Any) -> Any:
    y = np.full((a.shape[0], b.shape[1]), np.nan, a.dtype)
    products._in_registers(a, b, y)
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize(("m", "k", "n"), SIZES)
def test_a_product_is_right(m: int, k: int, n: int, dtype: Any) -> None:
    a, b = drawn(m, k, n, dtype)
    y = in_registers(a, b)
    assert (y.shape, y.dtype) == ((m, n), dtype)
    scale = np.finfo(dtype).eps * 4 * k**0.5
    np.testing.assert_allclose(y, a.astype(np.float64) @ b, rtol=scale, atol=scale * k**0.5)


@pytest.mark.parametrize("form", FORMS)
def test_it_has_the_same_bits_wherever_the_matrices_lie(form: str) -> None:
    a, b = drawn(67, 93, 45)
    wanted = in_registers(a, b)
    other = FORMS[form]
    for x, y in ((other(a), b), (a, other(b)), (other(a), other(b))):
        np.testing.assert_array_equal(in_registers(x, y), wanted)


@pytest.mark.parametrize(("m", "k", "n"), SIZES)
def test_a_number_has_the_same_bits_in_whatever_block_it_is(m: int, k: int, n: int) -> None:
    a, b = drawn(m, k, n)
    whole = in_registers(a, b)
    part = in_registers(a[-16:], b[:, -16:])
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


STACKS = {  # columns times rows of vectors, matrices and stacks; stacks of small matrices
    "column, row": ((97, 1), (1, 203)),
    "row, column": ((1, 1), (1, 5003)),
    "column, number": ((5003, 1), (1, 1)),
    "stack of columns": ((7, 3, 31, 1), (7, 3, 1, 29)),
    "2 x 2": ((701, 2, 2), (701, 2, 2)),
    "3 x 3": ((5, 103, 3, 3), (5, 103, 3, 3)),
    "4 x 4 with vectors": ((301, 4, 4), (301, 4, 1)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("name", STACKS)
def test_columns_times_rows_and_stacks_of_small_matrices(name: str, dtype: Any) -> None:
    rng = np.random.default_rng(8)
    a, b = (rng.normal(size=shape).astype(dtype) for shape in STACKS[name])
    a.flat[0], b.flat[-1] = -0.0, np.nan
    assert products._way(a.shape, b.shape, products._NOBODY) in (products._outer, products._stack)
    for x, y in ((a, b), (turned(a), turned(b)), (read_only(a), read_only(b))):
        found = products.product(x, y)
        if a.shape[-1] == 1:
            assert found.tobytes() == np.matmul(x, y).tobytes()  # one product each: NumPy's bits
        np.testing.assert_allclose(found, np.matmul(x, y), rtol=1e-5, atol=1e-6)


def test_a_gradient_of_a_matrix_times_a_vector_is_a_column_times_a_row() -> None:
    rng = np.random.default_rng(4)
    a, v = rng.normal(size=(301, 203)).astype(np.float32), rng.normal(size=203).astype(np.float32)
    for inputs in ((a, v), (v, a.T), (v, v)):
        tensors = [dg.tensor(x, requires_grad=True) for x in inputs]
        y = tensors[0] @ tensors[1]
        grads = dg.autograd.grad((y * y).sum(), tensors)
        with dg.reference_kernels():
            y = tensors[0] @ tensors[1]
            wanted = dg.autograd.grad((y * y).sum(), tensors)
        for one, two in zip(grads, wanted, strict=True):
            np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-4, atol=1e-3)


def shapes(rng: Any) -> tuple[Any, Any]:
    """Operands of a matmul: of one to four axes, of which some are 1."""
    m, k, n, i, j = np.exp(rng.uniform(0, 6, 5)).astype(int).tolist()
    if rng.random() < 0.3:
        k = 1
    a = [(m, k), (k,), (i, m, k), (j, i, m, k)][rng.integers(4)]
    b = [(k, n), (k,), (*a[:-2], k, n), (j, i, k, n)][rng.integers(4)]
    return a, b


@pytest.mark.parametrize("others", [*map(products.Others._make, product((0, 1), repeat=2))])
def test_a_product_that_pays_is_one_of_a_step_that_was_looked_at(others: products.Others) -> None:
    rng, paid = np.random.default_rng(5), 0
    for _ in range(20_000):
        a, b = shapes(rng)
        rows = (int(np.prod(a[:-1])), a[-1]) if len(a) > 2 and len(b) == 2 else a
        left, right = rows if len(rows) > 1 else (1, *rows), b if len(b) > 1 else (*b, 1)
        if len(left) > 2 and len(right) > 2 and left[:-2] != right[:-2]:
            continue
        lead = max(left[:-2], right[:-2], key=len)
        (m, k), n = left[-2:], right[-1]
        y = (*lead, m, n)
        pairs = [
            (left, right),
            (y, (*right[:-2], n, k)),
            ((*left[:-2], k, m), y),
        ]
        if any(products._way(*pair, others) for pair in pairs):
            paid += 1
            assert products._some_of(a, b, others), (a, b)
            assert kernels._may_pay(np.broadcast_to(0, a), np.broadcast_to(0, b))
    assert paid > 1000


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
    found.append(np.empty((m, n), "f"))
    products._in_registers(a, b.T, found[-1])
print(tiles.ROWS, hashlib.sha256(b"".join(x.tobytes() for x in found)).hexdigest())
"""


@pytest.mark.slow
@on_x86
def test_processors_with_and_without_avx512_give_the_same_bits(tmp_path: Any) -> None:
    check_bits_without_avx512(PROGRAM, tmp_path)

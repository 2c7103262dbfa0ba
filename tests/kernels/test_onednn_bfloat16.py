"""Newton-Schulz iterations in bfloat16 by oneDNN: beside the definition, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from captured import squaring_step

import distgrad as dg
from distgrad import kernels
from distgrad.kernels import onednn
from distgrad.optim.newton_schulz import orthogonalized

if not onednn.tiles():
    reason = f"{onednn.WHEEL} is not installed, or this CPU has no tiles for bfloat16 (AMX)"
    pytest.skip(f"{reason}: Muon iterates in float32", allow_module_level=True)

from distgrad.kernels import onednn_bfloat16

ABC = (3.4445, -4.7750, 2.0315)
SHAPES = [(128, 128), (131, 259), (259, 131), (97, 401), (401, 97), (512, 130)]


def rounded(x: Any) -> Any:
    """Return what bfloat16 keeps of float32 numbers: to nearest, ties to even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def defined(g: Any, steps: int) -> Any:
    """Return PyTorch's iteration: every result is rounded, sums within products are not."""
    a, b, c = ABC
    x = rounded(g / np.linalg.norm(g))
    x = x.T if len(g) > g.shape[1] else x
    for _ in range(steps):
        gram = rounded(x @ x.T)
        x = rounded(a * x + rounded(b * gram + c * (gram @ gram)) @ x)
    return x.T if len(g) > g.shape[1] else x


def drawn(shape: tuple[int, int]) -> Any:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library as if no matrix had been orthogonalized yet."""
    monkeypatch.setattr(onednn, "MINE", onednn._OfThread())
    monkeypatch.setattr(onednn, "UNTILED", [])
    onednn_bfloat16.loaded.cache_clear()
    yield
    onednn_bfloat16.loaded.cache_clear()


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_definition(shape: tuple[int, int], steps: int) -> None:
    g = drawn(shape)
    found = orthogonalized(g, ABC, 1e-7, steps)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert np.array_equal(rounded(found), found)  # it was bfloat16
    scale = 2.0**-8 * np.abs(found).max()  # a unit in the last place of the largest
    np.testing.assert_allclose(found, defined(g, steps), atol=max(1, 2 * steps) * scale)


def test_singular_values_come_as_near_to_1_as_in_float32() -> None:
    g = drawn((160, 240))
    found = np.linalg.svd(orthogonalized(g, ABC, 1e-7, 5), compute_uv=False)
    with dg.reference_kernels():
        wanted = np.linalg.svd(orthogonalized(g, ABC, 1e-7, 5), compute_uv=False)
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_its_bits_do_not_depend_on_where_a_matrix_lies_and_what_was_before() -> None:
    g = drawn((131, 259))
    once = orthogonalized(g, ABC, 1e-7, 5)
    orthogonalized(drawn((300, 200)), ABC, 1e-7, 5)
    shifted = np.empty(g.size + 3, np.float32)[3:].reshape(g.shape)
    shifted[...] = g
    assert np.array_equal(orthogonalized(shifted, ABC, 1e-7, 5), once)
    assert np.array_equal(orthogonalized(np.ascontiguousarray(g.T), ABC, 1e-7, 5).T, once)
    assert np.array_equal(orthogonalized(np.asfortranarray(g), ABC, 1e-7, 5), once)


def test_zeros_stay_zeros_and_nan_travels() -> None:
    assert not orthogonalized(np.zeros((128, 130), np.float32), ABC, 1e-7, 5).any()
    g = drawn((128, 130))
    g[3, 4] = np.nan
    assert np.isnan(orthogonalized(g, ABC, 1e-7, 5)).all()


def test_other_dtypes_small_matrices_and_references_are_numpys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        onednn_bfloat16, "iteration", lambda *_: pytest.fail("the library was asked")
    )
    orthogonalized(drawn((128, 130)).astype(np.float64), ABC, 1e-7, 5)
    orthogonalized(drawn((64, 130)), ABC, 1e-7, 5)
    with dg.reference_kernels():
        orthogonalized(drawn((128, 130)), ABC, 1e-7, 5)


@pytest.mark.usefixtures("anew")
def test_one_that_computes_wrongly_is_named_once_and_done_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onednn_bfloat16, "_is_right", lambda library: False)
    assert "Muon in bfloat16 by oneDNN" in kernels.status()
    g = drawn((128, 130))
    with pytest.warns(RuntimeWarning, match="wrong bfloat16 products; Muon iterates in float32"):
        found = orthogonalized(g, ABC, 1e-7, 5)
    with dg.reference_kernels():
        assert np.array_equal(found, orthogonalized(g, ABC, 1e-7, 5))
    assert "Muon in bfloat16" not in kernels.status()


@pytest.mark.usefixtures("anew")
def test_one_that_does_not_use_tiles_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn.Library, "implementation", lambda *_: "brg:avx512_core_bf16")
    with pytest.warns(RuntimeWarning, match="does not use AMX here"):
        orthogonalized(drawn((128, 130)), ABC, 1e-7, 5)


def test_the_test_of_it_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    library = onednn_bfloat16.loaded()
    assert library is not None
    assert onednn_bfloat16._is_right(library)
    monkeypatch.setattr(onednn_bfloat16, "_LINEAR", 0x24)  # absolute values, unscaled
    assert not onednn_bfloat16._is_right(library)


def test_a_captured_step_has_its_eager_bits() -> None:
    x = drawn((30, 160))

    def trained(capture: bool) -> Any:
        dg.manual_seed(3)
        model = dg.nn.Linear(160, 140, bias=False)
        optimizer = dg.optim.Muon(model.parameters(), lr=0.1)
        step = squaring_step(model, optimizer)
        run = dg.capture(step) if capture else step
        return [*[run(x).array.copy() for _ in range(4)], model.weight.array.copy()]

    for one, two in zip(trained(capture=False), trained(capture=True), strict=True):
        np.testing.assert_array_equal(one, two)

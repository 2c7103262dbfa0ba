"""Products by oneDNN: chosen by CPU, BLAS and variables, on the calling thread; or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distgrad import blas, kernels
from distgrad.kernels import amx, onednn

pytest.importorskip("numba", reason="numba is not installed: the BLAS multiplies")
if not onednn.installed()[1]:
    pytest.skip(f"{onednn.WHEEL} is not installed: the BLAS multiplies", allow_module_level=True)

from matrices import drawn

from distgrad.kernels import onednn_products, products


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU that it suits, without tiles, with one thread."""
    monkeypatch.setattr(amx, "multiplies", lambda: False)
    monkeypatch.setattr(onednn, "_suits", lambda: True)
    monkeypatch.setattr(blas, "threads", lambda: 1)
    onednn_products.functions.cache_clear()


def test_what_it_cannot_do_is_nan() -> None:
    library = onednn_products.functions()
    assert library is not None
    a, c = np.ones(12, np.float32), np.ones((3, 5), np.float32)
    onednn_products.multiply_by_library(  # rows of 4 numbers that begin 1 apart
        a, a, c.reshape(-1), 3, 4, 3, 1, 3, 5, False, False, *library
    )
    assert np.isnan(c[:, :3]).all()
    assert (c[:, 3:] == 1).all()


def test_openmp_has_the_threads_it_had() -> None:
    library = onednn.Library(onednn.installed()[0])
    before = library._threads()
    library._set_threads(3)
    try:
        a, b = drawn(67, 93, 45)
        products._in_library(a, b, np.empty((67, 45), np.float32))
        assert library._threads() == 3
    finally:
        library._set_threads(before)


@pytest.mark.usefixtures("chosen")
def test_one_that_multiplies_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn_products, "_is_right", lambda library: False)
    monkeypatch.setattr(onednn, "WRONG", [])
    assert "by oneDNN" in kernels.products_by()
    with pytest.warns(RuntimeWarning, match="computes a wrong matrix product.*DISTGRAD_ONEDNN=0"):
        assert products.way_of(*drawn(128, 128, 128)) is None
    assert not onednn_products.faster()
    assert "by oneDNN" not in kernels.products_by()
    onednn_products.functions.cache_clear()


@pytest.mark.usefixtures("chosen")
def test_it_is_loaded_only_for_what_it_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(amx, "multiplies", lambda: True)
    monkeypatch.setattr(onednn_products, "functions", load)
    assert products.way_of(*drawn(384, 384, 384)) is products._in_parts
    with pytest.raises(AssertionError, match="loaded"):
        products.way_of(*drawn(512, 512, 10))  # too few columns for tiles


def test_the_test_of_it_can_fail() -> None:
    library = onednn_products.functions()
    assert library is not None
    assert onednn_products._is_right(library)
    other = onednn.Library(onednn.installed()[0]).address("dnnl_version")  # does nothing, says 1
    assert not onednn_products._is_right(library._replace(multiply=other))


INTEL, AMD = ("GenuineIntel", 6), ("AuthenticAMD", 26)


@pytest.mark.parametrize(
    ("vendor", "blas_kernels", "variables", "is_chosen"),
    [
        (INTEL, "SkylakeX", {}, True),
        (AMD, "SkylakeX", {}, False),
        (INTEL, "Haswell", {}, False),  # chosen by the user, or no AVX-512
        (INTEL, "", {}, False),  # another BLAS
        (INTEL, "SkylakeX", {"DISTGRAD_ONEDNN": "0"}, False),
        (INTEL, "SkylakeX", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
    ],
)
def test_it_is_chosen_by_cpu_blas_and_variables_and_that_is_in_the_status(
    vendor: Any,
    blas_kernels: str,
    variables: dict[str, str],
    is_chosen: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blas, "cpu", lambda: blas.Cpu(*vendor, frozenset(blas._NEEDED)))
    monkeypatch.setattr(blas, "kernels", lambda: blas_kernels)
    monkeypatch.setattr(onednn, "REFUSED", [])
    monkeypatch.setattr(onednn, "WRONG", [])
    for name in ("DISTGRAD_ONEDNN", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    onednn._suits.cache_clear()
    try:
        assert onednn.multiplies() is is_chosen
        assert ("by oneDNN" in kernels.products_by()) is is_chosen
    finally:
        onednn._suits.cache_clear()

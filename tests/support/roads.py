"""The roads a convolution may take, as a fixture: tests that use it run on each."""

from __future__ import annotations

import pytest

from distgrad.kernels import onednn, onednn_convolution


def take(monkeypatch: pytest.MonkeyPatch, road: str) -> None:
    """Let convolutions go by ``road``: "onednn" (skips where it is not installed) or "im2row"."""
    if road == "im2row":
        monkeypatch.setattr(onednn_convolution, "plan", lambda problem, bias: None)
        return
    if not onednn.installed()[1]:
        pytest.skip(f"{onednn.WHEEL} is not installed: im2col and BLAS convolve")
    assert onednn_convolution.loaded() is not None


@pytest.fixture(params=["onednn", "im2row"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take(monkeypatch, request.param)
    return request.param

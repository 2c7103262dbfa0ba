"""The short-time Fourier transform and its inverse, and windows by PyTorch's older names."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import DTypeLike
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions import windows
from distgrad.ops.indexing import as_tensor
from distgrad.ops.pad import pad

__all__ = [
    "bartlett_window",
    "blackman_window",
    "hamming_window",
    "hann_window",
    "istft",
    "kaiser_window",
    "stft",
]


class _Frames:
    """Where n_fft points begin every hop_length, and the window that weighs them."""

    def __init__(
        self,
        name: str,
        n_fft: int,
        hop_length: int | None,
        win_length: int | None,
        window: TensorLike | None,
        dtype: Any,
    ) -> None:
        self.n = n_fft
        self.hop = n_fft // 4 if hop_length is None else hop_length
        length = n_fft if win_length is None else win_length
        if not 0 < length <= n_fft or self.hop <= 0:
            raise ShapeError(
                f"{name}: 0 < win_length ≤ n_fft and 0 < hop_length; got n_fft={n_fft}, "
                f"win_length={length}, hop_length={self.hop}"
            )
        w = Tensor(fixed(np.ones(length, dtype))) if window is None else as_tensor(window)
        if w.shape != (length,):
            raise ShapeError(f"{name}: a window of {length} weights; got shape {w.shape}")
        left = (n_fft - length) // 2
        self.window: Any = w if length == n_fft else pad(w, (left, n_fft - length - left))


def stft(
    input: TensorLike,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: TensorLike | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """The Fourier transforms of windows that move over a signal (…, length): (…, n, frames).

    n is n_fft // 2 + 1 if ``onesided`` (a real signal's default), else n_fft. With ``center``
    frame i is about point i · hop_length, and the signal is padded. ``return_complex=False`` puts
    real and imaginary parts in a last axis. Errors: ShapeError for what does not fit.
    """
    x = as_tensor(input)
    if align_to_window is not None and center:
        raise ShapeError("stft: align_to_window has a meaning for center=False alone")
    if x.ndim not in (1, 2) or x.dtype.kind not in "fc":
        raise ShapeError(
            f"stft takes real or complex signals (n) or (b, n); got {x.dtype} {x.shape}"
        )
    is_complex = x.dtype.kind == "c" or np.dtype(getattr(window, "dtype", "f4")).kind == "c"
    if return_complex is None and not is_complex:
        raise ShapeError("stft of a real signal: say return_complex=True (or False for two parts)")
    mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if pad_mode not in mode:
        raise ShapeError(f"stft: the pad_modes are {', '.join(mode)}; got {pad_mode!r}")
    frames = _Frames("stft", n_fft, hop_length, win_length, window, np.zeros(0, x.dtype).real.dtype)
    if center:
        half = n_fft // 2
        if pad_mode == "reflect" and half >= x.shape[-1]:
            raise ShapeError(f"stft: a signal of {x.shape[-1]} has no {half} points to reflect")
        x = as_tensor(pad(x, ((0, 0),) * (x.ndim - 1) + ((half, half),), mode[pad_mode]))
    if not 0 < n_fft <= x.shape[-1]:
        raise ShapeError(f"stft: 0 < n_fft ≤ {x.shape[-1]}, the signal's length; got {n_fft}")
    half_only = not is_complex if onesided is None else onesided
    if half_only and is_complex:
        raise ShapeError("stft: a complex signal or window has no mirrored half; onesided=False")
    weighted = ops.frames(x, size=n_fft, hop=frames.hop) * frames.window  # … frames n_fft
    transform = ops.rfft if half_only else ops.fft
    spectrum = transform(weighted, norm="ortho" if normalized else None)
    spectrum = np.swapaxes(spectrum, -1, -2)
    if return_complex is False:
        return as_tensor(np.stack((np.real(spectrum), np.imag(spectrum)), axis=-1))
    return as_tensor(spectrum)


def istft(
    input: TensorLike,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: TensorLike | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal (…, length) of least squares to the complex transforms (…, n, frames) of ``stft``.

    Errors: ShapeError where the windows leave a point out. Source: Griffin & Lim 1984.
    """
    x = as_tensor(input)
    if x.dtype.kind != "c" or x.ndim not in (2, 3) or x.size == 0:
        raise ShapeError(
            f"istft takes complex (n, frames) or (b, n, frames); got {x.dtype} {x.shape}"
        )
    frames = _Frames("istft", n_fft, hop_length, win_length, window, x.array.real.dtype)
    if frames.hop > frames.n:
        raise ShapeError(f"istft: hop_length={frames.hop} leaves points out between windows")
    half_only = x.shape[-2] != n_fft if onesided is None else onesided
    points = n_fft // 2 + 1 if half_only else n_fft
    if x.shape[-2] != points:
        raise ShapeError(f"istft: {points} frequencies for n_fft={n_fft}; got {x.shape[-2]}")
    if half_only and (return_complex or frames.window.dtype.kind == "c"):
        raise ShapeError("istft: a signal of mirrored frequencies is real; pass onesided=False")
    spectrum = np.swapaxes(x, -1, -2)
    norm = "ortho" if normalized else None
    if return_complex:
        pieces = ops.ifft(spectrum, norm=norm)
    else:  # of all frequencies too, the first half alone is read
        pieces = ops.irfft(spectrum[..., : n_fft // 2 + 1], n=n_fft, norm=norm)
    return _overlapped(pieces * frames.window, frames, center, length)


def _overlapped(pieces: Any, frames: _Frames, center: bool, length: int | None) -> Tensor:
    """The sum of the frames (…, count, n_fft) in their places, over that of the squared windows."""
    count = pieces.shape[-2]
    total = frames.n + frames.hop * (count - 1)
    front = pieces.shape[:-2]
    whole = ops.overlap(pieces, hop=frames.hop, length=total)
    squares = np.broadcast_to(frames.window * frames.window, (count, frames.n))
    weight = ops.overlap(squares, hop=frames.hop, length=total)
    start = frames.n // 2 if center else 0
    end = start + length if length is not None else total - (frames.n // 2 if center else 0)
    whole, weight = whole[..., start : min(end, total)], weight[start : min(end, total)]
    _check_covered(weight)
    y = whole / weight
    if end > total:
        y = pad(y, ((0, 0),) * len(front) + ((0, end - total),))
    return as_tensor(y)


@apart
def _check_covered(weight: Tensor) -> None:
    if weight.size == 0 or np.abs(weight.array).min() < 1e-11:
        raise ShapeError(
            "istft: the windows leave a point out; use a smaller hop_length or another"
        )


def _older(
    window: Any, length: int, periodic: bool, pin_memory: bool, settings: dict[str, Any]
) -> Tensor:
    if pin_memory:
        raise DistgradError("pin_memory=True: there is no GPU to copy to; leave it out")
    if length < 0:
        raise ShapeError(f"a window has 0 weights or more; got {length}")
    made: Tensor = window(length, sym=not periodic, **settings)
    return made


def hann_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: DTypeLike | None = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """sin²(π n / N), N the length, or one less if not ``periodic``."""
    settings = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    return _older(windows.hann, window_length, periodic, pin_memory, settings)


def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    *,
    dtype: DTypeLike | None = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """α - β cos(2π n / N), N the length, or one less if not ``periodic``."""
    settings = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    settings["a"] = [alpha, beta]
    return _older(windows.general_cosine, window_length, periodic, pin_memory, settings)


def blackman_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: DTypeLike | None = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """0.42 - 0.5 cos(2π n / N) + 0.08 cos(4π n / N), N as ``hann_window``'s."""
    settings = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    return _older(windows.blackman, window_length, periodic, pin_memory, settings)


def bartlett_window(
    window_length: int,
    periodic: bool = True,
    *,
    dtype: DTypeLike | None = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """A triangle that ends at 0: 1 - |2 n / N - 1|, N as ``hann_window``'s."""
    settings = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    return _older(windows.bartlett, window_length, periodic, pin_memory, settings)


def kaiser_window(
    window_length: int,
    periodic: bool = True,
    beta: float = 12.0,
    *,
    dtype: DTypeLike | None = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """I₀(β √(1 - (2 n / N - 1)²)) / I₀(β), N as ``hann_window``'s."""
    settings = {"dtype": dtype, "device": device, "requires_grad": requires_grad, "beta": beta}
    return _older(windows.kaiser, window_length, periodic, pin_memory, settings)

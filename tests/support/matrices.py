"""Matrices that lie in memory in all ways."""

from __future__ import annotations

from typing import Any

import numpy as np


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

"""Machine-level calls of kernels: which code they find."""

import numpy as np
import pytest

pytest.importorskip("numba")

from distgrad.kernels import machine
from distgrad.kernels.jit import exact_kernel


def test_a_kernel_that_nobody_has_called_is_compiled_as_its_call_would_be():
    @exact_kernel
    def scaled(a, out, *factors):
        for i in range(a.size):
            out[i] = a[i] * factors[0] * factors[1]

    arrays = [machine.kind_of(np.float32, 1)] * 2
    factors = [machine.kind_of(np.float64, None)] * 2
    first = machine.entry(scaled, [*arrays, *factors])
    out = np.empty(3, np.float32)
    scaled(np.arange(3, dtype=np.float32), out, 2.0, 3.0)
    assert out.tolist() == [0, 6, 12]
    assert len(scaled.signatures) == 1
    assert machine.entry(scaled, [*arrays, *factors]) == first

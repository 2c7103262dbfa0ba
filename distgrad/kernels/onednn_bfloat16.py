"""Newton-Schulz iterations in bfloat16 by oneDNN, on CPUs that multiply it in tiles (Intel's AMX).

One core of a Granite Rapids multiplies them so at 1.4 Tflop/s, in float32 at 0.19. PyTorch's Muon
iterates in bfloat16 on every CPU; its formulas in the same order are these.
"""

from __future__ import annotations

import ctypes
import warnings
from functools import cache

import numpy as np

from distgrad.autograd.types import Array
from distgrad.kernels import onednn, onednn_convolution
from distgrad.kernels.onednn import BFLOAT16, Library, LibraryError, Pointer, Primitive, memory

_LINEAR = 0x26  # dnnl_types.h: dnnl_eltwise_linear

Coefficients = tuple[float, float, float]


class Product:
    """c ← beta c + alpha a b of dense bfloat16 matrices, b as it is or ``turned``: transposed.

    As it is b may be c, too. Errors: LibraryError where the library does not multiply in tiles.
    """

    def __init__(
        self, library: Library, shape: tuple[int, int, int], *,
        turned: bool = False, alpha: float = 1.0, beta: float = 0.0,
    ) -> None:  # fmt: skip
        rows, inner, columns = shape
        a = library.layout((rows, inner), (inner, 1), BFLOAT16)
        b = library.layout((inner, columns), (1, inner) if turned else (columns, 1), BFLOAT16)
        # Its own order is the faster one, but the library is slow to transpose into it.
        taken = b if turned else library.layout((inner, columns), None, BFLOAT16)
        c = library.layout((rows, columns), (columns, 1), BFLOAT16)
        how = _combining(library, alpha, beta)
        library.free_with(self, "memory_desc", a, b, c, *([] if turned else [taken]))
        library.free_with(self, "primitive_attr", how)
        made = library.made("matmul_primitive_desc_create", library.engine, a, taken, None, c, how)
        library.free_with(self, "primitive_desc", made)
        if "amx" not in library.implementation(made):
            raise LibraryError("matmul_primitive_desc_create", onednn.UNIMPLEMENTED)
        order = b if turned else library.asked(made, onednn.ASK_WEIGHTS)
        pairs = [(onednn.SRC, a), (onednn.WEIGHTS, order), (onednn.DST, c)]
        self._multiply = Primitive(library, made, pairs)
        self._arrange = None if turned else onednn.conversion(library, self, b, order)
        self._size = library.bytes_of(order)

    def __call__(self, a: int, b: int, c: int) -> None:
        """Multiply what lies at these addresses. Errors: LibraryError."""
        if self._arrange is not None:
            arranged = memory("arranged", self._size)
            self._arrange(b, arranged)
            b = arranged
        self._multiply(a, b, c)


class Iteration:
    """Newton-Schulz steps for matrices of one shape, for one thread. Errors: LibraryError."""

    def __init__(
        self, library: Library, shape: tuple[int, int], coefficients: Coefficients
    ) -> None:
        a, b, c = coefficients
        self._shape = shape
        rows, columns = self._sides = sorted(shape)
        given = library.layout((rows, columns), (1, rows) if shape[0] > shape[1] else (columns, 1))
        inner = library.layout((rows, columns), (columns, 1), BFLOAT16)
        library.free_with(self, "memory_desc", given, inner)
        self._take = onednn.conversion(library, self, given, inner)
        self._give = onednn.conversion(library, self, inner, given)
        self._gram = Product(library, (rows, columns, rows), turned=True)
        self._square = Product(library, (rows, rows, rows), alpha=c, beta=b)
        self._next = Product(library, (rows, rows, columns), beta=a)

    def __call__(self, x: Array, steps: int) -> Array:
        """Return ``steps`` times X ← a X + (b A + c A²) X with A = X Xᵀ, X on its smaller side."""
        rows, columns = self._sides
        long, square = rows * columns * 2, rows * rows * 2  # bytes
        now = memory("iterate", long)
        gram, mixed = memory("gram", square), memory("polynomial", square)
        self._take(np.ascontiguousarray(x), now)
        for _ in range(steps):
            self._gram(now, now, gram)
            ctypes.memmove(mixed, gram, square)
            self._square(gram, gram, mixed)
            self._next(mixed, now, now)
        out = np.empty(self._shape, np.float32)
        self._give(now, out)
        return out


def iteration(shape: tuple[int, int], coefficients: Coefficients) -> Iteration | None:
    """Return this thread's iteration on matrices of float32; None where the library is not used."""
    library = loaded()
    if library is None:
        return None
    found: Iteration = onednn.kept(
        (shape, coefficients), lambda: Iteration(library, shape, coefficients)
    )
    return found


@cache
def loaded() -> Library | None:
    """Return the library, tested once; None where it is not there or does not multiply in tiles."""
    library = onednn_convolution.loaded()
    if library is None:
        return None
    try:
        right = _is_right(library)
    except LibraryError as error:
        onednn.UNTILED.append(f"oneDNN {onednn.installed()[1]} does not use AMX here: {error}")
    else:
        if right:
            return library
        onednn.UNTILED.append(f"oneDNN {onednn.installed()[1]} computes wrong bfloat16 products")
    warnings.warn(
        f"{onednn.UNTILED[0]}; Muon iterates in float32 instead, slower. Install {onednn.WHEEL} "
        f"anew, or set DISTGRAD_ONEDNN=0 to say that this is meant",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _is_right(library: Library) -> bool:
    """Compare with whole numbers, small enough to be exact in bfloat16."""
    for rows, columns in ((67, 93), (93, 67)):
        x = np.eye(rows, columns, dtype=np.float32) + np.eye(rows, columns, 1, np.float32)
        wide = x if rows < columns else x.T
        gram = wide @ wide.T
        wanted = 2 * wide + (2 * gram @ gram - 2 * gram) @ wide
        found = Iteration(library, (rows, columns), (2.0, -2.0, 2.0))(x, 1)
        if not np.array_equal(found if rows < columns else found.T, wanted):
            return False
    return True


def _combining(library: Library, alpha: float, beta: float) -> Pointer:
    """Return the attributes of a product that is scaled and added to what was there."""
    how = library.made("primitive_attr_create")
    library.call("primitive_attr_set_scratchpad_mode", how, onednn.USERS_SCRATCHPAD)
    after = library.made("post_ops_create")
    if alpha != 1.0:
        scaled = after, _LINEAR, ctypes.c_float(alpha), ctypes.c_float(0.0)
        library.call("post_ops_append_eltwise", *scaled)
    if beta != 0.0:
        library.call("post_ops_append_sum", after, ctypes.c_float(beta), 0, 0)
    library.call("primitive_attr_set_post_ops", how, after)
    library.call("post_ops_destroy", after)
    return how

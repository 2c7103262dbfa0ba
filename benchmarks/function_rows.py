"""The public functions that benchmarks/ops.py times beside PyTorch's of the same names.

A line names functions, what draws their inputs, and the settings that follow these. What is an op
has its rows in op_calls.py, what has a layer in layer_shapes.py. Gradients are timed where both
libraries have one. tests/oracle/test_sweep.py demands a line, or a reason for none.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from layer_shapes import words
from op_calls import Draw, Fixed, case, matrices, normal, uniform

import distgrad as dg

MODULES = ("", "nn.functional", "special", "linalg", "fft")
"""Where public functions are, in both libraries."""

Change = Callable[[Callable[..., Any]], Callable[..., Any]]


def calls(names: str, draw: Draw, *args: Any, label: str = "", **settings: Any) -> None:
    """Add a row for each function: of the inputs drawn, then ``args`` and ``settings``."""
    _add(names, draw, lambda f: lambda *x: f(*x, *args, **settings), label)


def of_list(names: str, draw: Draw, *args: Any, **settings: Any) -> None:
    """Add rows of functions whose first argument is a sequence of all inputs."""
    _add(names, draw, lambda f: lambda *x: f(x, *args, **settings))


def views(names: str, draw: Draw, *args: Any, **settings: Any) -> None:
    """Add rows of functions that compute nothing: of the first result, times 1."""

    def used(f: Callable[..., Any]) -> Callable[..., Any]:
        def call(*x: Any) -> Any:
            y = f(*x, *args, **settings)
            return (y[0] if isinstance(y, tuple | list) else y) * 1.0

        return call

    _add(names, draw, used)


def parts(names: str, draw: Draw, **settings: Any) -> None:
    """Add rows of functions of a complex array, which is made of the two inputs."""

    def made(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda a, b: f((dg if isinstance(a, dg.Tensor) else torch).complex(a, b), **settings)

    _add(names, draw, made)


def _add(names: str, draw: Draw, change: Change, label: str = "") -> None:
    for name in names.split():
        ours, theirs = (change(operator.attrgetter(name)(module)) for module in (dg, torch))
        case(f"{name} {label}".strip(), ours, theirs, draw, "function", of=name)


# -- inputs ---------------------------------------------------------------------------------------


def held(draw: Draw) -> Draw:
    """The same inputs, not differentiated: where PyTorch has no gradient."""
    return lambda r, s: tuple(x if isinstance(x, Fixed) else Fixed(x) for x in draw(r, s))


def whole(count: int = 1, low: int = 0, high: int = 1000) -> Draw:
    return lambda r, s: tuple(Fixed(r.integers(low, high, s)) for _ in range(count))


def holed(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
    x = r.standard_normal(s, "f4")
    x[r.random(s) < 0.01] = np.nan
    return (x,)


def lines(count: int = 1) -> Draw:
    """Vectors of so many elements as the matrix has."""
    return lambda r, s: tuple(r.standard_normal((count, s[0] * s[1]), "f4"))


def pair_of_lines(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
    return r.standard_normal(s[0], "f4"), r.standard_normal(s[1], "f4")


def also(*more: Callable[[np.random.Generator, Any], Any]) -> Draw:
    """A matrix and what is made for it."""
    return normal(1, lambda r, a: (a, *(make(r, a) for make in more)))


def at_rows(r: np.random.Generator, a: Any) -> Fixed:
    return Fixed(r.integers(0, len(a), len(a)))


def permuted(r: np.random.Generator, a: Any) -> Fixed:
    return Fixed(r.random(a.shape).argsort(1))


def mask(r: np.random.Generator, a: Any) -> Fixed:
    return Fixed(r.random(a.shape) < 0.5)


def another(r: np.random.Generator, a: Any) -> Any:
    return r.standard_normal(a.shape, "f4")


def size(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
    return (s,)


def count(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
    return (s[0] * s[1],)


def by_four(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
    return (r.standard_normal((s[0] // 4 * 4, s[1] // 4 * 4), "f4"),)


def by_four_and(*more: Callable[[int], Any]) -> Draw:
    return lambda r, s: (*by_four(r, s), *(make(s[0] // 4 * 4) for make in more))


def a_line(r: np.random.Generator, s: tuple[int, int]) -> tuple[Any, ...]:
    return (r.standard_normal(s[0], "f4"),)


def pivots(a: Any) -> Fixed:
    """Those of factors of matrices whose rows stay where they are."""
    return Fixed(np.broadcast_to(np.arange(1, a.shape[-1] + 1, dtype="i4"), a.shape[:-1]).copy())


ROW, COLUMN = (lambda r, a: a[0].copy()), (lambda r, a: a[:, 0].copy())
POINTS: Draw = lambda r, s: (r.standard_normal((round((s[0] * s[1]) ** 0.5), 16), "f4"),)  # noqa: E731
TWO_POINTS: Draw = lambda r, s: POINTS(r, s) + POINTS(r, s)  # noqa: E731
SMALL = matrices(lambda r, a: a / 9)
TWO = matrices(lambda r, a: (a, a + 1))
SYMMETRIC = matrices(lambda r, a: a + a.transpose(0, 2, 1))

# -- each element ---------------------------------------------------------------------------------

calls("frexp sgn conj_physical clone", normal())
calls("nan_to_num", holed)
calls("signbit isfinite isinf isnan isneginf isposinf isreal logical_not", normal())
calls("heaviside nextafter", held(normal(2)))
calls("eq ge gt le lt ne isclose logical_and logical_or logical_xor", normal(2))
calls("equal allclose", also(lambda r, a: a.copy()))
calls("bitwise_and bitwise_or bitwise_xor gcd lcm", whole(2, 1))
calls("bitwise_left_shift bitwise_right_shift", whole(2, 1, 8))
calls("bitwise_not", whole())
calls("rsub true_divide", uniform((-2, 2), (0.5, 2)))
calls("addcmul addcdiv", uniform((-2, 2), (-2, 2), (0.5, 2)), value=0.5)
calls("lerp", normal(3))
calls("lerp", normal(2), 0.3, label="by a number")
calls("clamp_min clamp_max", normal(), 0.5)
calls("pow float_power", uniform((0.3, 2)), 2.5)
calls("logit", uniform((0.05, 0.95)), 0.1, label="with eps")
calls("ldexp", also(lambda r, a: Fixed(r.integers(-3, 4, a.shape))))
calls("polar", uniform((0.1, 2), (-3, 3)))
calls("mvlgamma", uniform((2, 6)), 2)
calls("igamma igammac", held(uniform((0.5, 4), (0.1, 5))))
calls("special.ndtr", normal())
calls("special.zeta", held(uniform((1.5, 5), (0.5, 3))))
for _name in ("bessel_j0", "bessel_j1", "spherical_bessel_j0", "modified_bessel_i0",
              "modified_bessel_i1"):  # fmt: skip
    calls(f"special.{_name}", held(uniform((0.1, 8))))
for _kind in ("t", "u", "v", "w"):
    calls(f"special.chebyshev_polynomial_{_kind}", held(uniform((-1, 1))), 5)
    calls(f"special.shifted_chebyshev_polynomial_{_kind}", held(uniform((0, 1))), 5)
for _name in ("hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l",
              "legendre_polynomial_p"):  # fmt: skip
    calls(f"special.{_name}", held(uniform((-1, 1))), 5)
calls("maximum minimum logaddexp hypot arctan2 copysign remainder", also(ROW), label="and a row")
calls("lerp", also(ROW, another), label="and a row")

# -- over axes ------------------------------------------------------------------------------------

calls("nansum nanmean", holed)
calls("nansum nanmean", holed, 1, label="over rows")
calls("all any argmax argmin count_nonzero", normal())
calls("all any argmax argmin count_nonzero", normal(), 1, label="over rows")
calls("aminmax std_mean var_mean norm median nanmedian mode", normal())
calls("median mode std_mean var_mean", normal(), 1, label="over rows")
calls("frobenius_norm", normal(), (0, 1))
calls("quantile nanquantile", normal(), 0.3)
calls("cummax cummin", normal(), 1)
calls("kthvalue topk", normal(), 3)
calls("sort argsort msort", normal())
calls("unique unique_consecutive", whole())
calls("unique", held(normal()), label="of floats")
calls("dist", normal(2))
calls("trace", normal())
calls("diff trapezoid cumulative_trapezoid", normal())
calls("gradient", normal(), dim=1)
calls("cov corrcoef", normal(1, lambda r, a: a[:64].copy()[None]))
calls("renorm", normal(), 2, 0, 1.0)
calls("nn.functional.normalize", normal())
calls("bincount", lambda r, s: (Fixed(r.integers(0, 100, s[0] * s[1])),))
calls("histc", held(normal()), 50)
calls("histogram", held(normal()), 50)
calls("histogramdd", lambda r, s: (Fixed(r.standard_normal((s[0] * s[1] // 2, 2), "f4")), [5, 5]))
calls("bucketize", also(lambda r, a: Fixed(np.linspace(-3, 3, 50, dtype="f4"))))

# -- products -------------------------------------------------------------------------------------

calls("mm", lambda r, s: tuple(r.standard_normal((2, min(s[0], 300), min(s[0], 300)), "f4")))
calls("mv", also(ROW))
calls("bmm", TWO)
calls("addmm", lambda r, s: tuple(r.standard_normal((3, min(s[0], 300), min(s[0], 300)), "f4")))
calls("addmv", normal(1, lambda r, a: (a[:, 0].copy(), a, a[0].copy())))
calls("baddbmm", matrices(lambda r, a: (a, a + 1, a - 1)))
calls("addbmm", matrices(lambda r, a: (a[0].copy(), a, a - 1)))
calls("dot vdot", lines(2))
calls("inner", lambda r, s: tuple(r.standard_normal((2, min(s[0], 300), 64), "f4")))
calls("tensordot", lambda r, s: tuple(r.standard_normal((2, 4, 16, max(s[0] // 16, 2)), "f4")), 3)
calls("outer ger", pair_of_lines)
calls("addr", also(COLUMN, ROW))
calls(
    "kron",
    lambda r, s: (r.standard_normal((8, 8), "f4"), r.standard_normal((s[0] // 8, s[1] // 8), "f4")),
)
calls("cross", lambda r, s: tuple(r.standard_normal((2, s[0] * s[1] // 3, 3), "f4")))
calls("linalg.vecdot", normal(2))
calls("matrix_power", SMALL, 3)
calls("chain_matmul", matrices(lambda r, a: tuple(a[0] + i for i in range(3))))
of_list("linalg.multi_dot", matrices(lambda r, a: tuple(a[0] + i for i in range(3))))
calls("cdist", TWO_POINTS)
calls("pdist", POINTS)

# -- matrices of 8 × 8 -----------------------------------------------------------------------------

calls("cholesky_inverse inverse pinverse logdet", SYMMETRIC)
calls("cholesky_solve", matrices(lambda r, a: (a, np.linalg.cholesky(a + a.transpose(0, 2, 1)))))
calls("linalg.cholesky_ex linalg.eigvalsh", SYMMETRIC)
calls("linalg.inv_ex linalg.svdvals linalg.matrix_norm linalg.lu", matrices())
calls("linalg.lu_factor", matrices())
calls("linalg.norm", normal())
calls("linalg.cond linalg.matrix_rank linalg.eig linalg.eigvals geqrf", held(matrices()))
calls("linalg.lu_solve", matrices(lambda r, a: (a, pivots(a), a)))
calls("lu_solve", matrices(lambda r, a: (a, a, pivots(a))))
calls("lu_unpack", held(matrices(lambda r, a: (a, pivots(a)))))
calls("nuclear_norm", matrices(), dim=(1, 2))
calls("linalg.solve_ex linalg.lstsq", TWO)
calls("triangular_solve", matrices(lambda r, a: (a, np.triu(a + 1))))
_cube: Draw = lambda r, s: (np.eye(64, dtype="f4").reshape(8, 8, 64) * 2,)  # noqa: E731
calls("linalg.tensorsolve", lambda r, s: (*_cube(r, s), r.standard_normal((8, 8), "f4")))
calls("linalg.tensorinv", _cube)
calls("vander", lambda r, s: (Fixed(r.uniform(-1, 1, s[0]).astype("f4")),))

# -- transforms -----------------------------------------------------------------------------------

calls("fft.fft2 fft.ifft2 fft.rfft2", normal())
calls("fft.ihfft fft.ihfft2 fft.fftshift fft.ifftshift", normal())
parts("fft.irfft2 fft.hfft fft.hfft2", normal(2))
parts("view_as_real", normal(2))
calls("stft", lines(), 64, return_complex=True)
parts("istft", lambda r, s: (*r.standard_normal((2, 33, s[0] * s[1] // 33 + 8), "f4"),), n_fft=64)
calls("fft.fftfreq fft.rfftfreq", count)

# -- choices by an index or a mask ----------------------------------------------------------------

calls("gather", also(lambda r, a: 1, permuted))
calls("take_along_dim", also(permuted, lambda r, a: 1))
calls("index_select", also(lambda r, a: 0, at_rows))
calls("scatter scatter_add", also(lambda r, a: 1, permuted, another))
calls("scatter_reduce", also(lambda r, a: 1, permuted, another), "sum")
calls(
    "index_add index_copy", also(lambda r, a: 0, lambda r, a: Fixed(r.permutation(len(a))), another)
)
calls("index_reduce", also(lambda r, a: 0, at_rows, another), "amax")
calls("index_fill", also(lambda r, a: 0, at_rows), 0.5)
_add("index_put", also(at_rows, another), lambda f: lambda a, i, b: f(a, (i,), b))
calls("put", also(lambda r, a: Fixed(r.permutation(a.size).reshape(a.shape)), another))
calls("masked_fill", also(mask), 0.5)
calls("masked_select", also(mask))
calls("masked_scatter", also(mask, another))
calls("select_scatter", also(lambda r, a: a[0].copy()), 0, 1)
calls("slice_scatter", also(lambda r, a: a[:, :4].copy()), 1, 0, 4)
calls("diagonal_scatter", also(lambda r, a: a.diagonal().copy()))
calls("nonzero argwhere", lambda r, s: (Fixed(r.integers(0, 2, s)),))
calls("nonzero_static", lambda r, s: (Fixed(r.integers(0, 2, s)),), size=50)
calls("repeat_interleave", normal(), 2, 1)
calls("unravel_index", whole(), (1000, 1000))
calls(
    "searchsorted",
    lambda r, s: (Fixed(np.linspace(-3, 3, 50, dtype="f4")), Fixed(r.standard_normal(s, "f4"))),
)
calls("isin", lambda r, s: (Fixed(r.integers(0, 1000, s)), Fixed(np.arange(0, 500, 7))))
calls("nn.functional.one_hot", lambda r, s: (Fixed(r.integers(0, 10, s[0] * s[1] // 10)), 10))
calls(
    "nn.functional.embedding_bag",
    lambda r, s: (*words(32, 64)(r, s), r.standard_normal((1000, 64), "f4")),
)
calls(
    "nn.functional.affine_grid",
    lambda r, s: (r.standard_normal((1, 2, 3), "f4"), (1, 1, *s)),
    align_corners=False,
)

# -- joined, repeated, cut ------------------------------------------------------------------------

of_list("cat stack dstack column_stack", normal(2))
calls("block_diag", normal(2, lambda r, a, b: (a[:400, :400], b[:400, :400])))
calls("cartesian_prod meshgrid", pair_of_lines)
calls("combinations", a_line)
calls("tile", normal(), (2, 1))
calls("fliplr flipud rot90", normal())
calls("diag diagflat diag_embed", a_line)
calls("nn.functional.pad", normal(), (1, 1, 2, 2))
views("adjoint t ravel flatten atleast_3d", normal())
views("permute", normal(), (1, 0))
views("moveaxis", normal(), 0, 1)
views("unsqueeze unbind", normal(), 0)
views("select", normal(), 1, 2)
views("narrow narrow_copy", normal(), 1, 1, 3)
views("chunk tensor_split hsplit vsplit", by_four, 4)
views("split_with_sizes", by_four_and(lambda n: (n // 4, n - n // 4)))
views("unflatten", by_four_and(lambda n: 0, lambda n: (-1, 4)))
views("view_as_complex", lambda r, s: (r.standard_normal((*s, 2), "f4"),))
views("broadcast_tensors", also(ROW))

# -- made anew ------------------------------------------------------------------------------------

calls("zeros ones", size)
calls("full", size, 0.5)
calls("zeros_like ones_like", normal())
calls("full_like", normal(), 0.5)
calls("fill", held(normal()), 0.5)
calls("arange", count)
calls("linspace logspace", lambda r, s: (0.0, 1.0, s[0] * s[1]))
calls("eye", lambda r, s: s)
calls("tril_indices triu_indices", lambda r, s: s)
calls("hann_window hamming_window blackman_window bartlett_window kaiser_window", count)
calls("rand randn", size)
calls("rand_like randn_like", normal())
calls("randint", lambda r, s: (0, 10, s))
calls("randint_like", normal(), 10)
calls("randperm", count)
calls("normal", lambda r, s: (0.0, 1.0, s))
calls("bernoulli poisson", lambda r, s: (Fixed(r.random(s, "f4")),))
calls("binomial", lambda r, s: (Fixed(np.full(s, 9.0, "f4")), Fixed(r.random(s, "f4"))))
calls("multinomial", lambda r, s: (Fixed(r.random(s[1], "f4")), s[0] * s[1], True))
calls("nn.functional.gumbel_softmax", normal())

DRAWN = [
    *("rand", "randn", "rand_like", "randn_like", "randint", "randint_like", "randperm"),
    *("normal", "bernoulli", "poisson", "binomial", "multinomial"),
    "nn.functional.gumbel_softmax",
]
"""Functions whose values are not the same in both libraries."""

_REASONS = {
    "asks or sets something, whatever the size": """
        are_deterministic_algorithms_enabled broadcast_shapes can_cast enable_grad get_default_dtype
        get_device inference_mode initial_seed is_complex is_conj is_floating_point is_grad_enabled
        is_inference is_neg is_nonzero is_same_size is_signed is_tensor manual_seed no_grad numel
        promote_types result_type seed set_default_device set_default_dtype set_default_tensor_type
        set_printoptions typename use_deterministic_algorithms detach detach_copy resolve_conj
        resolve_neg""",
    "takes over what the user has: numbers, memory, a file, a function": """
        BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor
        ShortTensor as_tensor asarray from_dlpack from_numpy frombuffer scalar_tensor tensor load
        save vmap""",
    "zeros here, nothing there": "empty empty_like",
    "another name, or another case, of one that is timed": """
        atleast_1d atleast_2d concat concatenate range row_stack dsplit unsafe_chunk unsafe_split
        unsafe_split_with_sizes trapz fft.fftn fft.ifftn fft.rfftn fft.irfftn fft.hfftn fft.ihfftn
        linalg.lu_factor_ex movedim hstack vstack swapdims""",
    "timed as a layer, a loss or an op of another name": """
        einsum nn.functional.batch_norm nn.functional.binary_cross_entropy
        nn.functional.binary_cross_entropy_with_logits nn.functional.ctc_loss
        nn.functional.instance_norm nn.functional.interpolate nn.functional.upsample_bilinear
        nn.functional.upsample_nearest nn.functional.adaptive_max_pool1d_with_indices
        nn.functional.adaptive_max_pool2d_with_indices
        nn.functional.adaptive_max_pool3d_with_indices nn.functional.max_pool1d_with_indices
        nn.functional.max_pool2d_with_indices nn.functional.max_pool3d_with_indices
        nn.functional.multi_head_attention_forward nn.functional.conv_tbc
        nn.functional.linear_cross_entropy nn.functional.triplet_margin_with_distance_loss""",
    "draws or takes places": """
        nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool2d_with_indices
        nn.functional.fractional_max_pool3d nn.functional.fractional_max_pool3d_with_indices
        nn.functional.max_unpool1d nn.functional.max_unpool2d nn.functional.max_unpool3d""",
    "LAPACK's time on both sides": """
        linalg.householder_product orgqr ormqr pca_lowrank svd_lowrank""",
}
LEFT_OUT = {name: reason for reason, names in _REASONS.items() for name in names.split()}
"""Functions without a row, and why."""

"""What a positional call of each public method of a Tensor means: one table, and each is in it.

``SAME``: what NumPy's or PyTorch's user means, compared with PyTorch in tests/oracle.
``REFUSED``: NumPy and PyTorch differ. ``NUMPYS``: only NumPy's arrays have it, or it is an
attribute that keeps NumPy's meaning. ``TENSORS``: about gradients; tested elsewhere.
"""

from __future__ import annotations

import numpy as np

X = np.random.default_rng(4).uniform(0.2, 2, (3, 3, 4))
X[0, 0, 1] = X[0, 0].max()  # equal elements
COLUMN = X[:, :1]
INDEX = np.array([[[0, 3, 3]], [[1, 0, 2]], [[2, 2, 1]]])

# name: the (tensor, arguments) of calls that mean the same.
SAME = {
    **{
        n: [(X, ()), (X, (1,)), (X, (-1, True)), (X, ((0, 2),)), (X, ([0, 1],))]
        for n in ("sum", "mean", "all", "any")
    },
    "logsumexp": [(X, (1,)), (X, (-1, True)), (X, ((0, 2),))],
    **{n: [(X, ()), (X, (1,)), (X, (-1, True))] for n in ("prod", "argmax", "argmin")},
    **{n: [(X, (1,)), (X, (-1,))] for n in ("cumsum", "cumprod")},
    **{n: [(X, ())] for n in ("ravel", "conj", "clone", "contiguous", "cpu")},
    **{n: [(X, ())] for n in ("float", "double", "long", "int", "short", "char", "byte")},
    **{n: [(X, ())] for n in ("bool", "cfloat", "cdouble")},
    **{n: [(X, ())] for n in ("numel", "nelement", "dim", "ndimension", "is_contiguous")},
    **{n: [(X, ())] for n in ("is_floating_point", "is_complex", "is_signed", "element_size")},
    **{
        n: [(X, ())]
        for n in ("storage_offset", "get_device", "is_inference", "is_pinned", "is_distributed")
    },
    **{n: [(X, ())] for n in ("tolist", "detach", "numpy")},
    "unsqueeze": [(X, (1,)), (X, (-1,))],
    "stride": [(X, ()), (X, (1,))],
    "new_zeros": [(X, (2, 3)), (X, ((2, 3),)), (X, ((),))],
    "new_ones": [(X, (2, 3)), (X, ([2, 3],))],
    "new_full": [(X, ((2, 3), 7))],
    "new_tensor": [(X, ([[1, 2]],))],
    "item": [(X[0, 0, :1], ())],
    "round": [(X, ())],
    "masked_fill": [(X, (X > 1, -5.0))],
    **{n: [(X, (4, -1)), (X, ((4, 9),))] for n in ("reshape", "view")},
    "flatten": [(X, ()), (X, (1,)), (X, (0, 1))],
    "transpose": [(X, (0, 1)), (X, (-1, 0)), (X[0], (0, 1)), (X[0], (1, 0)), (X[0], (0, 0))],
    "permute": [(X, (2, 0, 1)), (X, ((1, 0, 2),)), (X[0], (0, 1)), (np.array(2.5), ((),))],
    "swapaxes": [(X, (0, 2))],
    "squeeze": [(COLUMN, ()), (COLUMN, (1,)), (COLUMN, (-2,)), (COLUMN[:1], ((0, 1),))],
    "expand": [(COLUMN, (2, -1, 3, 4)), (COLUMN, ((3, 5, 4),))],
    "take": [(X, (np.array([0, 7, 7]),))],
    "chunk": [(X, (2,)), (X, (2, 2))],
    "unbind": [(X, ()), (X, (1,))],
    "diagonal": [(X, ()), (X, (1, 1, 2))],
    "dot": [(X[0, 0], (X[0, 1],))],
    "matmul": [(X, (X[0].T,)), (X[0], (X[0, 0],))],
    "trace": [(X[0], ())],
}

# name: the arguments of calls that are refused, and what the error offers.
_SPREAD = r"x\.{0}\(axis=1, ddof=0\).* x\.{0}\(dim=1, correction=1\)"
_EXTREMUM = r"x\.{0}\(axis=1\) for the values, x\.{0}\(dim=1\) for .*np\.{0}imum\(x, y\)"
REFUSED = {
    **{n: ([(1,), (0, True), (X,)], _EXTREMUM.format(n)) for n in ("max", "min")},
    **{n: ([(1,), (0, True), (False,)], _SPREAD.format(n)) for n in ("var", "std")},
    "norm": ([(2,), (1, 0), ("fro",)], r"x\.norm\(p=2\).*x\.norm\(ord=2\)"),
    "repeat": ([(2,), (2, 1)], r"np\.repeat\(x, 2, axis=1\).*np\.tile\(x, \(2, 1\)\)"),
    "squeeze": ([(1,), (0,), ((0, 2),)], r"x\.squeeze\(dim=1\).*x\.squeeze\(axis=1\)"),
}

NUMPYS = {
    "T": "NumPy's property: all axes reversed (PyTorch deprecates it for other than two)",
    **dict.fromkeys(("mT", "H", "mH"), "a property, the same in both"),
    "astype": "NumPy's alone",
    "data": "the NumPy array",
    "dtype": "NumPy's dtype",
    "imag": "NumPy's property: zeros for real numbers, where PyTorch raises",
    "ndim": "a property, the same in both",
    **dict.fromkeys(("itemsize", "nbytes"), "a property, the same in both"),
    **dict.fromkeys(
        ("is_cpu", "is_cuda", "is_meta", "is_mps", "is_xla", "is_xpu"), "a property of PyTorch's"
    ),
    **dict.fromkeys(("is_sparse", "is_sparse_csr", "is_quantized"), "a property of PyTorch's"),
    **dict.fromkeys(("is_nested", "is_mkldnn"), "a property of PyTorch's"),
    "real": "a property, the same in both",
    "shape": "a property, the same in both",
    "size": "NumPy's property: a number, not a method",
}

TENSORS = {"accumulate_", "backward", "grad", "is_leaf", "register_hook", "requires_grad"}
TENSORS |= {"array", "copy", "ctypes", "data_ptr", "device", "grad_fn", "tobytes"}
TENSORS |= {"const_data_ptr", "dim_order", "is_shared", "layout"}
TENSORS |= {"requires_grad_", "retain_grad"}
TENSORS |= {"retains_grad", "register_post_accumulate_grad_hook"}
# Their arguments are dtypes, which are none of PyTorch's: tests/autograd/test_conversion.py.
TENSORS |= {"to", "type", "type_as", "new_empty", "half"}
# They write: tests/autograd/test_conversion.py.
TENSORS |= {"zero_", "fill_", "copy_", "detach_", "is_set_to", "fill_diagonal_"}

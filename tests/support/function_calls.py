"""What positional calls of the public functions of ops mean, beside torch's and torch.linalg's.

The ops themselves take no setting by position (``test_spelling``); this is about the others.
"""

from __future__ import annotations

import numpy as np
from method_calls import INDEX, X

A, B = X[0, :, :3], X[1, :, :3] + 3 * np.eye(3)

# name: the positional calls that mean the same.
SAME = {
    **{n: [(X[0, 0],), (X[0],)] for n in ("atleast_1d", "atleast_2d", "atleast_3d", "ravel")},
    **{n: [((X, X),)] for n in ("hstack", "vstack", "dstack")},
    **{n: [((X, X),), ((X, X), 1)] for n in ("concatenate", "stack")},
    **{n: [(X, 3), (X, [1, 2])] for n in ("hsplit", "vsplit")},
    **{n: [(X, 1)] for n in ("cummax", "cummin", "unbind")},
    **{n: [(X,)] for n in ("fliplr", "flipud")},
    "chunk": [(X, 2), (X, 2, 2)],
    "clip": [(X, 0.5, 1.5), (X, 0.5)],
    "column_stack": [((X[0, 0], X[0, 1]),)],
    "diff": [(X,), (X, 2, 1)],
    "dsplit": [(X, 2), (X, [1, 2])],
    "einsum": [("ij,jk->ik", A, B)],
    "flatten": [(X,), (X, 1), (X, 0, 1)],
    "gather": [(X, 2, INDEX)],
    "index_add": [(X, 1, np.array([2, 0]), X[:, :2])],
    "index_put": [(A, (np.array([0, 2]), np.array([1, 1])), np.array([5.0, 6.0]))],
    "index_select": [(X, 1, np.array([2, 0]))],
    "kthvalue": [(X, 2), (X, 2, 1), (X, 2, 1, True)],
    "masked_fill": [(X, X > 1, -5.0)],
    "masked_select": [(X, X > 1)],
    "matrix_power": [(A, 3)],
    "moveaxis": [(X, 0, 2), (X, (0, 1), (2, 0))],
    "multi_dot": [((A, B, A),)],
    "mvlgamma": [(np.abs(X) + 2, 3)],
    "nanmean": [(X,)],
    "narrow": [(X, 1, 1, 2)],
    "quantile": [(X, 0.3), (X, 0.3, 1)],
    "rot90": [(X,), (X, 1, (1, 2))],
    "scatter": [(X, 2, INDEX, X[:, :1] + 9)],
    "scatter_add": [(X, 2, INDEX, X[:, :1])],
    "scatter_reduce": [(X, 2, INDEX, X[:, :1] + 9, r) for r in ("sum", "prod", "amax")],
    "index_reduce": [(X, 1, np.array([2, 2]), X[:, :2], r) for r in ("mean", "amin")],
    "tile": [(X, (2, 1)), (A, (2, 1, 3))],
    "topk": [(X, 2), (X, 2, 1), (X, 2, 1, False)],
    "unflatten": [(X, 2, (2, 2))],
    "vecdot": [(A, B)],
    "where": [(X > 1, X, 0.0)],
}

# Refused or without a meaning by position: tests/autograd/test_spelling.py.
REFUSED = {"median", "meshgrid", "nan_to_num", "sort", "split"}

# Names that PyTorch has not, or not there (F.pad is another function): NumPy's positions.
NUMPYS = {
    *("append", "array_split", "average", "broadcast_arrays", "compress", "copy", "delete"),
    *("extract", "matrix_transpose", "matvec", "pad", "partition", "percentile", "ptp", "repeat"),
    *("betaln", "take_along_axis", "unstack", "vecmat"),
}

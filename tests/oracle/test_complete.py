"""Every op of the registry has an oracle: a module here names it in its ``OPS``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import oracle  # noqa: F401 (skips where PyTorch is not installed)

from distgrad.autograd import REGISTRY

# Ops that are parts of others, compared through them.
PARTS = {
    "normal_cdf": "gelu",
    "alpha_dropout": "alpha_dropout, whose draws differ, by what it does to mean and variance",
    "add_slices": "index_add",
    "pad_border": "np.pad",
    "fold_border": "np.pad",
    "cosine": "cosine_similarity and cosine_embedding_loss",
    "add_at": "getitem",
    "take_along": "gather and take_along_axis",
    "add_along": "scatter_add",
    "put_along": "scatter",
    "extreme_at": "scatter_reduce and index_reduce",
    "set_at": "index_put",
    "block_diagonal": "block_diag",
    "set_diagonal": "diagonal_scatter",
    "powers": "vander",
    "scalar_product": "vecdot",
    "vector_product": "cross",
    "tanh_backward": "tanh, whose gradients of gradients are compared",
    "sigmoid_backward": "sigmoid",
    "scaled_product": "tanh_backward",
    "bag_sum": "embedding_bag",
    "outer_product": "outer",
    "reordered": "pixel_shuffle and pixel_unshuffle",
    "unstack": "unbind",
    "row_covariances": "cov",
}


def test_every_op_is_compared_with_pytorch():
    compared: set[str] = set()
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"oracle_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        compared |= set(getattr(module, "OPS", ()))
    assert {n for n in PARTS if n in REGISTRY} == set(PARTS)
    missing = sorted(set(REGISTRY) - compared - set(PARTS))
    assert not missing
    assert not sorted(compared - set(REGISTRY)), "names that are no ops"

"""PyTorch's own samples of every function that is here: same values, gradients, methods, in place.

Linear algebra is in test_op_db_linalg.py. What differs by convention stands in EXPECTED, what there
is no use for in LEFT_OUT, each with its reason.
"""

from __future__ import annotations

import re

import pytest
from op_db_walk import NAMES, of_matrices, ours_of, unclear, wrong

ELSEWHERE = ("linalg.", "fft.", "special.", "signal.")
LEFT_OUT = {
    r"_(?!_)|torch\.|jiterator": "PyTorch's own parts, or its GPU's",
    r"masked\.|sparse\.|to_sparse": "there are no masked and sparse tensors",
    r".*_copy$": "a name for compilers: write x.clone() of the view",
    r"as_strided|(new_)?empty_(strided|permuted)": "memory by strides has no gradient here",
    r"resize_": "a tensor keeps its size",
    r"bfloat16|chalf": "NumPy has no such dtype",
    r"native_|constant_pad_nd|slice$|grid_sampler_.d|max_pool2d_with_indices_backward": (
        "what stands behind PyTorch's functions; these are here"
    ),
    r"__rdiv__": "Python 2's division",
    r"hash_tensor": "a checksum of PyTorch's own",
}

DIVISION = (r"int64|bool .* dtype: torch.float64", "whole numbers divide to float64, as NumPy's")
TIES = (
    r"(int64|bool) .* value: other whole numbers",
    "PyTorch promises no order of equal elements",
)
REAL = (r"complex128", "of real numbers alone")
ZEROS = (r"value", "zeros here; whatever is in memory there")
RULE = (r"means one thing in NumPy and another in PyTorch", "positions that could be NumPy's")
EXPECTED = {
    "div:no_rounding_mode": DIVISION,
    "true_divide": DIVISION,
    "kthvalue": TIES,
    "topk": TIES,
    "sort": TIES,
    "argsort": TIES,
    "logaddexp": REAL,
    "logcumsumexp": (
        r"complex128|float32 .* gradient",
        "real numbers; 20 times as exact in float32",
    ),
    "norm:nuc": REAL,
    "normal:in_place": (
        r"std=-2|complex128",
        "a negative deviation is an error; real numbers alone",
    ),
    "uniform": REAL,
    "rand_like": REAL,
    "normal": (r"dtype: torch.float32", "the default dtype, whatever the mean's"),
    "normal:number_mean": (r"'layout'", "there is one layout"),
    "empty": ZEROS,
    "empty_like": ZEROS,
    "new_empty": ZEROS,
    "repeat": RULE,
    "squeeze": RULE,
    "squeeze:multiple": RULE,
    "histogramdd": (r"monotonically", "edges that are not in order are an error"),
    "__rpow__": (r"int64 .* negative integer powers", "an error, as NumPy's"),
    "arange": (r"ZeroDivisionError", "a step of 0"),
    "linspace": (r"int64 .* other whole numbers", "rounded down, as NumPy's"),
    "gather": (r"an index of shape", "an index has as many axes as the tensor"),
    "index_select": (r"0 axes", "a number has no axis"),
    "masked_fill": (r"torch.bool", "whole numbers do not go into booleans"),
    "masked_scatter": (r"torch.bool", "not of booleans"),
    "scatter": (r"torch.bool .* dtype", "booleans add up to whole numbers"),
    "scatter_reduce:sum": (r"torch.bool .* dtype", "booleans add up to whole numbers"),
    "scatter_reduce:prod": (r"torch.bool .* dtype", "booleans multiply to whole numbers"),
    "sum_to_size": (r"torch.bool .* dtype", "booleans stay booleans where nothing is added"),
    "nn.functional.normalize": (
        r"order of a norm|no axis of \(\)",
        "orders below 0 are refused; a number has no axis",
    ),
    **dict.fromkeys(
        [f"nn.functional.fractional_max_pool{n}d" for n in (2, 3)],
        (r"differs by", "the windows are drawn from other random numbers"),
    ),
    **dict.fromkeys(
        [f"nn.functional.max_unpool{n}d" for n in (1, 2, 3)],
        (r"gradient: value", "of several values at one place the last has the gradient: it stays"),
    ),
    "nn.functional.batch_norm": (r"got \(0,\)", "the channels have an axis"),
    "nn.functional.multi_head_attention_forward": (r", 0\.5, ", "other random numbers"),
    "nn.functional.pairwise_distance": (r"order of a norm", "orders below 0 are refused"),
    **dict.fromkeys(
        [
            f"nn.functional.pad:{n}"
            for n in ("reflect", "replicate", "replicate_negative", "circular")
        ],
        (r"widths are", "negative widths are for padding with a constant"),
    ),
    "nn.functional.multi_margin_loss": (r"one label; got \(\)", "no batch and no classes"),
    "nn.functional.multilabel_margin_loss": (r"or \(c\); got \(\)", "no batch and no classes"),
    "nn.functional.avg_pool2d": (r"whole number or 2 of them", "settings are one number, or all"),
    "nn.functional.scaled_dot_product_attention": (r"dropout_p=0\.5", "other random numbers"),
    "nn.functional.triplet_margin_with_distance_loss": (
        r"must be Tensor, not Tensor",
        "the distance function is one of PyTorch's",
    ),
    "nn.functional.dropout2d": (r"inputs of 4 axes", "the batch has an axis"),
    "nn.functional.feature_alpha_dropout:without_train": (r"takes \(n, c, …\)", "(n, c, …)"),
    "nn.functional.gaussian_nll_loss": (r"equal shapes", "the variance has the input's shape"),
}
"""By name: what is said of the samples that differ (a regular expression), and why."""

HERE = [
    name
    for name in NAMES
    if not name.startswith((*ELSEWHERE, "nn.functional."))
    and not re.match("|".join(LEFT_OUT), name.partition(":")[0])
    and not of_matrices(ours_of(NAMES[name]))
]
FUNCTIONAL = [name for name in NAMES if name.startswith("nn.functional.")]


def found(name: str) -> list[str]:
    """What is wrong with an op beyond what is expected of it."""
    pattern, _ = EXPECTED.get(name, (r"(?!)", ""))  # matches nothing
    said = wrong(NAMES[name]) + unclear(NAMES[name])
    return [text for text in said if not re.search(pattern, text)]


@pytest.mark.parametrize("name", HERE)
def test_a_function_its_method_and_its_twin_in_place_are_pytorchs(name):
    assert ours_of(NAMES[name]) is not None, f"there is no {name}"
    said = found(name)
    assert not said, "\n".join(said[:5])


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_a_function_of_networks_is_pytorchs(name):
    assert ours_of(NAMES[name]) is not None, f"there is no {name}"
    said = found(name)
    assert not said, "\n".join(said[:5])


def test_how_many_are_right(capsys):
    missing = [name for name in HERE if ours_of(NAMES[name]) is None]
    differ = [name for name in HERE if name in EXPECTED]
    right = len(HERE) - len(missing) - len(differ)
    with capsys.disabled():
        print(f"\nop_db: {right} of {len(HERE)} right, {len(differ)} expected to differ")
        print(f"{len(missing)} missing: {' '.join(missing)}")


def test_every_expected_difference_is_of_an_op_there_is():
    assert set(EXPECTED) <= {*HERE, *FUNCTIONAL}

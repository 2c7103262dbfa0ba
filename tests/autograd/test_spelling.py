"""``dim=`` means PyTorch's result, ``axis=`` NumPy's; positions that could be either are refused.

tests/oracle/test_methods.py compares with PyTorch itself.
"""

from __future__ import annotations

import function_calls
import numpy as np
import pytest
from method_calls import COLUMN, NUMPYS, REFUSED, SAME, TENSORS, X

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import grad
from distgrad.errors import ShapeError
from distgrad.functions.install import PYTORCHS
from distgrad.nn import functional as F

SPREADS, EXTREMA = ("var", "std"), ("max", "min")


def values(result):
    if isinstance(result, tuple | list):
        return [values(r) for r in result]
    return result.array if isinstance(result, Tensor) else result


def test_every_public_method_is_in_the_table_of_what_positions_mean():
    public = {n for n in dir(Tensor) if not n.startswith("_")} - set(PYTORCHS)
    listed = [set(SAME) | set(REFUSED), set(NUMPYS), TENSORS]
    assert set.union(*listed) == public
    assert sum(map(len, listed)) == len(public)


@pytest.mark.parametrize("name", REFUSED)
def test_positions_that_differ_are_refused_with_both_spellings(name):
    calls, spellings = REFUSED[name]
    for arguments in calls:
        with pytest.raises(TypeError, match=rf"x\.{name}\(.*in NumPy and .*{spellings}"):
            getattr(Tensor(X), name)(*arguments)


@pytest.mark.parametrize("name", SAME)
def test_positions_that_mean_the_same_are_answered(name):
    for x, arguments in SAME[name]:
        getattr(Tensor(x), name)(*arguments)


def test_an_attribute_that_pytorch_calls_is_no_method():
    for name in NUMPYS:
        if name not in {"astype", "size"}:
            assert not callable(getattr(Tensor(X[0]), name))


def test_size_is_numpys_number_and_pytorchs_shape_when_called():
    x = Tensor(np.zeros((2, 3)))
    assert x.size == 6
    assert x.size + 1 == 7
    assert x.size() == x.shape == (2, 3)
    assert x.size(-1) == x.size(dim=1) == 3


# NumPy's sort and put in place; nonzero gives a tuple there, and a matrix here; clip promotes.
PYTORCHS_MEANING = {"argsort", "clip", "nonzero", "put", "sort"}


def test_a_method_that_came_with_pytorchs_functions_is_none_of_numpys():
    assert PYTORCHS.keys() & set(dir(np.ndarray)) <= PYTORCHS_MEANING


# -- the two meanings -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXTREMA)
def test_an_extremum_has_values_for_axis_and_pairs_for_dim(name):
    x = Tensor(X, requires_grad=True)
    numpys = getattr(np, name)
    alone = getattr(x, name)(axis=1, keepdims=True)
    np.testing.assert_array_equal(alone.array, numpys(X, axis=1, keepdims=True))
    pair = getattr(x, name)(dim=1)
    np.testing.assert_array_equal(pair.values.array, numpys(X, axis=1))
    np.testing.assert_array_equal(pair[1], getattr(np, f"arg{name}")(X, axis=1))
    assert pair.values.requires_grad
    kept = getattr(x, name)(dim=-1, keepdim=True)
    assert kept.values.shape == kept.indices.shape == (3, 3, 1)


def test_the_accuracy_idiom_counts_right_answers():
    labels = X[:, 0].argmax(1)
    labels[1] += 1
    assert (Tensor(X[:, 0]).max(dim=1)[1] == labels).sum() == 2


def test_an_extremum_of_all_elements_shares_the_gradient_of_equal_ones():
    x = Tensor(np.array([1.0, 3.0, 3.0]), requires_grad=True)
    assert grad(x.max(), [x])[0].array.tolist() == [0, 0.5, 0.5]
    assert grad(np.max(x), [x])[0].array.tolist() == [0, 1, 0]


@pytest.mark.parametrize("name", SPREADS)
def test_a_spread_divides_by_n_for_axis_and_by_n_minus_1_for_dim(name):
    numpys = getattr(np, name)
    method = getattr(Tensor(X), name)
    for found, wanted in (
        (method(axis=1), numpys(X, axis=1)),
        (method(axis=(0, 2), ddof=2, keepdims=True), numpys(X, axis=(0, 2), ddof=2, keepdims=True)),
        (method(ddof=0), numpys(X)),
        (method(dim=1), numpys(X, axis=1, ddof=1)),
        (method(dim=[0, 2], keepdim=True), numpys(X, axis=(0, 2), ddof=1, keepdims=True)),
        (method(dim=1, correction=0), numpys(X, axis=1)),
        (method(dim=1, unbiased=False), numpys(X, axis=1)),
        (method(correction=2), numpys(X, ddof=2)),
        (numpys(Tensor(X), 1), numpys(X, 1)),
    ):
        np.testing.assert_allclose(values(found), wanted, rtol=1e-12)


def test_a_norm_is_the_vectors_for_p_and_numpys_for_ord():
    A = X[0]
    x = Tensor(A)
    norm = np.linalg.norm
    for found, wanted in (
        (x.norm(), norm(A)),
        (x.norm(p=2), norm(A.ravel())),
        (x.norm(p=1), norm(A.ravel(), 1)),
        (x.norm(p="fro"), norm(A)),
        (x.norm(p="nuc"), norm(A, "nuc")),
        (x.norm(dim=1), norm(A, axis=1)),
        (x.norm(p=3, dim=0, keepdim=True), norm(A, 3, axis=0, keepdims=True)),
        (x.norm(dim=[0, 1]), norm(A)),
        (x.norm(ord=2), norm(A, 2)),
        (x.norm(ord=1, axis=1), norm(A, 1, axis=1)),
        (x.norm(axis=0, keepdims=True), norm(A, axis=0, keepdims=True)),
        (np.linalg.norm(x, 2), norm(A, 2)),
    ):
        np.testing.assert_allclose(values(found), wanted, rtol=1e-12)


def test_a_position_beside_one_of_pytorchs_names_is_pytorchs():
    x = Tensor(X)
    for found, wanted in (
        (x.max(1, keepdim=True).values, X.max(1, keepdims=True)),
        (x.min(-1, keepdim=False).indices, X.argmin(-1)),
        (x.var(0, unbiased=False), X.var(0)),
        (x.std(-1, keepdim=True), X.std(-1, ddof=1, keepdims=True)),
        (x.std((0, 1), True, keepdim=True), X.std((0, 1), ddof=1, keepdims=True)),
        (x.norm(2, dim=-1), np.linalg.norm(X, axis=-1)),
        (x.norm(1, 0, keepdim=True), np.abs(X).sum(0, keepdims=True)),
        (ops.sort(x, 1, descending=True).values, -np.sort(-X, 1)),
    ):
        np.testing.assert_allclose(values(found), wanted, rtol=1e-12)
    with pytest.raises(TypeError, match=r"x\.norm\(…\) was given p by position and by name"):
        x.norm(2, p=2)
    with pytest.raises(TypeError, match="means one thing in NumPy and another in PyTorch"):
        x.max(1, axis=0)


def test_two_numbers_are_exchanged_and_more_are_the_order_of_all_axes():
    x = Tensor(X)
    for found, wanted in (
        (x.transpose(), X.T),
        (x.transpose(0, 1), X.swapaxes(0, 1)),
        (Tensor(X[0]).transpose(0, 1), X[0].T),
        (x.transpose(dim0=0, dim1=-1), X.swapaxes(0, 2)),
        (x.transpose(2, 0, 1), X.transpose(2, 0, 1)),
        (x.transpose((2, 0, 1)), X.transpose(2, 0, 1)),
        (np.transpose(Tensor(X[0]), (0, 1)), X[0]),
        (Tensor(X[0]).transpose((0, 1)), X[0]),
    ):
        np.testing.assert_array_equal(found.array, wanted)
    with pytest.raises(TypeError, match="name both, and nothing else"):
        x.transpose(dim0=0)
    with pytest.raises(TypeError, match="name both, and nothing else"):
        x.transpose(0, 1, dim0=0, dim1=1)
    with pytest.raises(dg.ShapeError, match="transpose"):
        x.permute()


def test_squeezing_a_longer_axis_is_nothing_for_dim_and_an_error_for_axis():
    x = Tensor(COLUMN)
    assert x.squeeze(dim=0).shape == x.shape == x.squeeze(dim=-1).shape
    assert x.squeeze(dim=(0, 1)).shape == (3, 4)
    with pytest.raises(dg.ShapeError, match="size not equal to one"):
        x.squeeze(axis=0)
    with pytest.raises(dg.ShapeError, match="axis 3 is out of bounds"):
        x.squeeze(dim=3)
    with pytest.raises(TypeError, match="one of axis and dim"):
        x.squeeze(axis=1, dim=1)


def test_a_repetition_is_numpys_where_its_axis_is_named():
    np.testing.assert_array_equal(Tensor(X).repeat(2, axis=1).array, np.repeat(X, 2, axis=1))
    np.testing.assert_array_equal(Tensor(X).repeat(2, axis=None).array, np.repeat(X, 2))


@pytest.mark.parametrize("given", [(1, 3), (2, 2), (1, 1), ([2, 3],), ((3, 1),), ([2, 1, 3, 1],)])
def test_a_repetition_that_is_not_numpys_is_of_the_whole(given):
    wanted = np.tile(COLUMN[0], given if len(given) > 1 else given[0])
    np.testing.assert_array_equal(Tensor(COLUMN[0]).repeat(*given).array, wanted)


@pytest.mark.parametrize("given", [(3, 1), (2, 0), (2, -1), (2,), ([2],)])
def test_a_repetition_that_could_be_either_is_refused(given):
    with pytest.raises(TypeError, match=r"np\.tile\(x, \(2, 1\)\) for the whole repeated"):
        Tensor(COLUMN[0]).repeat(*given)


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max", "var", "std", "norm", "sum", "argmax", "cumsum", "all"])
def test_dim_beside_axis_is_refused(name):
    with pytest.raises(
        TypeError, match=r"given dim, which asks for PyTorch's .* beside axis, which asks for NumPy"
    ):
        getattr(Tensor(X), name)(dim=1, axis=1)


@pytest.mark.parametrize(
    "name", ["sum", "mean", "prod", "logsumexp", "argmax", "argmin", "all", "any"]
)
def test_dim_and_keepdim_are_understood_where_they_mean_the_same(name):
    method = getattr(Tensor(X), name)
    found, wanted = method(dim=1, keepdim=True), method(axis=1, keepdims=True)
    assert found.shape == (3, 1, 4)
    np.testing.assert_array_equal(values(found), values(wanted))
    with pytest.raises(TypeError, match=f"x.{name} takes no 'dims'; it takes"):
        method(dims=1)
    with pytest.raises(TypeError, match=r"second position is PyTorch's keepdim, a boolean"):
        method(0, np.float64)


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_a_name_that_a_method_does_not_take_is_refused_as_it_was_written(name):
    with pytest.raises(TypeError, match=f"x.{name} takes no 'keepdim'; it takes axis"):
        getattr(Tensor(X), name)(0, keepdim=True)


def test_the_axes_of_a_diagonal_have_two_names():
    x = Tensor(X)
    np.testing.assert_array_equal(x.diagonal(dim1=1, dim2=2).array, X.diagonal(0, 1, 2))
    np.testing.assert_array_equal(x.diagonal(axis1=0, axis2=2).array, X.diagonal(0, 0, 2))


# -- functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax, F.softmin, Tensor.softmax])
def test_a_softmax_asks_for_its_axis(function):
    with pytest.raises((TypeError, ShapeError), match=r"argument: 'dim'|needs dim, the axis that"):
        function(Tensor(X))
    np.testing.assert_array_equal(function(Tensor(X), 1).array, function(Tensor(X), dim=1).array)


@pytest.mark.parametrize(
    ("function", "arguments", "spellings"),
    [
        (ops.sort, (1,), r"ops\.sort\(x, axis=1\).*ops\.sort\(x, dim=1\)"),
        (ops.sort, (), r"ops\.sort\(x, axis=1\).*ops\.sort\(x, dim=1\)"),
        (ops.median, (1,), r"ops\.median\(x, axis=1\).*ops\.median\(x, dim=1\)"),
        (ops.split, (2,), r"indices_or_sections=2.*split_size_or_sections=2"),
        (ops.split, (1, 2), r"indices_or_sections=2.*split_size_or_sections=2"),
        (ops.meshgrid, (X,), "missing 1 required keyword-only argument: 'indexing'"),
        (ops.nan_to_num, (0.5,), "takes 1 positional argument but 2 were given"),
        (F.mse_loss, (X, "sum"), "takes 2 positional arguments but 3 were given"),
    ],
)
def test_functions_that_differ_refuse_positions_too(function, arguments, spellings):
    with pytest.raises(TypeError, match=spellings):
        function(Tensor(X), *arguments)


def test_functions_with_two_meanings_have_both():
    x = Tensor(X)
    np.testing.assert_array_equal(ops.sort(x, axis=1).array, np.sort(X, 1))
    np.testing.assert_array_equal(ops.sort(x, dim=1).indices, np.argsort(X, 1, kind="stable"))
    np.testing.assert_array_equal(ops.median(x, axis=2).array, np.median(X, 2))
    np.testing.assert_array_equal(ops.median(x, dim=2).values.array, np.sort(X, 2)[:, :, 1])
    halves = ops.split(x, indices_or_sections=2, axis=2)
    assert [p.shape for p in halves] == [(3, 3, 2)] * 2
    assert [p.shape[2] for p in ops.split(x, split_size_or_sections=3, dim=2)] == [3, 1]
    assert [p.shape[2] for p in ops.split(x, split_size_or_sections=[1, 3], dim=2)] == [1, 3]
    with pytest.raises(dg.ShapeError, match=r"lengths \[1, 2\] do not make up axis 2 of length 4"):
        ops.split(x, split_size_or_sections=[1, 2], dim=2)


def test_every_function_of_ops_is_in_the_table_of_what_positions_mean():
    functions = {n for n in ops.__all__ if not isinstance(getattr(ops, n), dg.autograd.Op)}
    listed = [set(function_calls.SAME), function_calls.REFUSED, function_calls.NUMPYS]
    assert set.union(*listed) == functions
    assert sum(map(len, listed)) == len(functions)


@pytest.mark.parametrize("declared", dg.autograd.REGISTRY.values(), ids=lambda o: o.name)
def test_no_op_takes_a_setting_by_position(declared):
    inputs = [X] * (len(declared.inputs) + 1)
    if declared.name == "join":
        return  # any number of arrays
    with pytest.raises(dg.ShapeError, match=rf"{declared.name} expects"):
        declared(*inputs)

"""Conversions, new tensors of the same kind, facts about memory, and what writes in place."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad

X = np.arange(6.0).reshape(2, 3)
NAMED = {
    **{"double": "float64", "float": "float32", "half": "float16", "long": "int64"},
    **{"int": "int32", "short": "int16", "char": "int8", "byte": "uint8", "bool": "bool"},
    **{"cfloat": "complex64", "cdouble": "complex128"},
}


@pytest.mark.parametrize("name", NAMED)
def test_a_conversion_has_the_dtype_of_its_name_and_is_itself_where_it_changes_nothing(name):
    found = getattr(Tensor(X), name)()
    assert found.dtype == NAMED[name]
    np.testing.assert_array_equal(found.array, X.astype(NAMED[name]))
    assert getattr(found, name)() is found


def test_gradients_come_back_through_conversions():
    x = Tensor(X, requires_grad=True)
    assert grad((x.float() * 2).double().sum(), [x])[0].dtype == np.float64
    assert grad(x.to(np.complex64).real.sum(), [x])[0].array.tolist() == np.ones((2, 3)).tolist()


def test_to_reads_every_form_of_pytorchs():
    x = Tensor(X)
    for found in (
        x.to(np.float32),
        x.to("cpu", np.float32),
        x.to("cpu", np.dtype(np.float32), True, True),
        x.to(Tensor(np.zeros(1, np.float32))),
        x.to(device="cpu", dtype="float32", non_blocking=True),
        x.to(other=Tensor(np.zeros(1, np.float32))),
        x.type("torch.FloatTensor"),
        x.type(dg.FloatTensor),
        x.type(np.float32),
        x.type_as(Tensor(np.zeros(1, np.float32))),
    ):
        assert found.dtype == np.float32
    assert x.to("cpu") is x.to(np.float64) is x.to(dg.Tensor([1.0]).device) is x.cpu() is x
    copy = x.to(np.float64, copy=True)
    assert copy is not x
    assert not np.shares_memory(copy.array, X)
    assert x.type() == "torch.DoubleTensor"
    for refused in (("cuda",), ("cuda:0", np.float32), (1,)):
        with pytest.raises(dg.DistgradError, match="distgrad computes on CPUs"):
            x.to(*refused)


def test_new_tensors_have_this_ones_dtype():
    x = Tensor(X.astype(np.float32))
    assert x.new_zeros(2, 3).dtype == x.new_ones((2,)).dtype == x.new_full((2,), 7).dtype == x.dtype
    assert x.new_full((2,), 7).array.tolist() == [7, 7]
    assert x.new_tensor([1, 2]).dtype == np.float32
    assert x.new_zeros(3, dtype=np.int64).dtype == np.int64
    assert x.new_ones([2, 3], requires_grad=True).requires_grad
    assert x.new_empty(2).array.tolist() == [0, 0]


def test_facts_about_memory_count_elements():
    x = Tensor(X)
    assert x.stride() == (3, 1)
    assert x.T.stride() == (1, 3)
    assert x.T.stride(0) == 1
    assert x[1, 1:].storage_offset() == 4
    assert x.is_contiguous()
    assert not x.T.is_contiguous()
    assert x.contiguous() is x
    assert x.T.contiguous().is_contiguous()
    assert (x.element_size(), x.nbytes, x.nelement(), x.ndimension()) == (8, 48, 6, 2)
    assert x.is_set_to(x.view(2, 3))
    assert not x.is_set_to(x.clone())


def test_a_contiguous_copy_is_on_the_tape():
    x = Tensor(X, requires_grad=True)
    weight = X.T + 1
    assert grad((x.T.contiguous() * weight).sum(), [x])[0].array.tolist() == weight.T.tolist()


def test_everything_is_on_the_cpu():
    x = Tensor(X)
    assert x.is_cpu
    assert x.get_device() == -1
    for name in ("is_cuda", "is_mps", "is_sparse", "is_quantized", "is_nested", "is_meta"):
        assert getattr(x, name) is False


def test_a_view_as_another_dtype_reads_the_same_memory():
    x = Tensor(np.array([1.0, 2.0], np.float32))
    bits = x.view(np.int32)
    assert bits.array.tolist() == np.array([1.0, 2.0], np.float32).view(np.int32).tolist()
    assert np.shares_memory(bits.array, x.array)
    with pytest.raises(dg.GradError, match=r"x\.view\(dtype\) has no gradient"):
        Tensor(X, requires_grad=True).view(np.int64)


def test_shapes_are_taken_by_their_names():
    x = Tensor(X)
    assert x.view(size=(3, 2)).shape == x.reshape(shape=(3, 2)).shape == (3, 2)
    assert x.permute(dims=(1, 0)).shape == (3, 2)
    assert Tensor(X[:1]).expand(size=(4, -1)).shape == (4, 3)
    with pytest.raises(TypeError, match="by position or as dims="):
        x.permute(axes=(1, 0))


# -- writing --------------------------------------------------------------------------------------


def test_writing_stays_in_the_tensors_memory_and_dtype():
    x = Tensor(np.zeros((2, 3), np.float32))
    held = x.numpy()
    assert x.copy_(Tensor(X[0])) is x
    assert held.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert x.fill_(Tensor(np.array(2.5))).numpy() is held
    assert held.tolist() == np.full((2, 3), 2.5).tolist()
    assert x.zero_().numpy() is held
    assert not held.any()
    with pytest.raises(ValueError, match=r"takes one number; got shape \(2, 3\)"):
        x.fill_(X)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_a_parameter_is_filled_with_a_whole_number_and_with_zeros(dtype):
    p = dg.nn.Parameter(np.ones(3, np.float32))
    p.requires_grad = False
    p.array = np.ones(3, dtype)
    assert p.fill_(3).tolist() == [3, 3, 3]
    assert p.copy_([4, 5, 6]).tolist() == [4, 5, 6]
    assert p.zero_().tolist() == [0, 0, 0]
    assert p.dtype == dtype
    trained = dg.nn.Parameter(np.ones(3, np.float32))
    with dg.no_grad():
        assert trained.fill_(3).requires_grad


def test_a_copy_of_a_recorded_tensor_is_on_the_tape():
    x, y = Tensor(X, requires_grad=True), Tensor(np.zeros((2, 3)))
    y.copy_(x * 3)
    assert grad(y.sum(), [x])[0].array.tolist() == np.full((2, 3), 3.0).tolist()
    with pytest.raises(dg.GradError, match=r"x\.zero_\(\) in place on a leaf"):
        x.zero_()


def test_a_diagonal_is_filled_and_wraps_below_a_square():
    x = Tensor(np.zeros((5, 2)))
    assert x.fill_diagonal_(7).tolist() == [[7, 0], [0, 7], [0, 0], [0, 0], [0, 0]]
    assert x.zero_().fill_diagonal_(7, wrap=True).tolist()[3:] == [[7, 0], [0, 7]]
    with pytest.raises(dg.ShapeError, match=r"a matrix, or equal axes; got shape \(3,\)"):
        Tensor(np.zeros(3)).fill_diagonal_(1)
    y = Tensor(np.eye(3), requires_grad=True) * 2
    y.fill_diagonal_(5)
    assert y.requires_grad
    assert y.diagonal().tolist() == [5, 5, 5]


def test_detach_in_place_makes_a_leaf():
    x = Tensor(X, requires_grad=True)
    y = x * 2
    assert y.detach_() is y
    assert y.is_leaf
    assert not y.requires_grad
    with pytest.raises(dg.GradError, match="would leave its base on the tape"):
        (x * 2).T.detach_()


def test_pythons_own_functions():
    x = Tensor(np.array(2.6))
    assert round(x) == 3
    assert round(Tensor(np.array([2.64, 1.0])), 1).array.tolist() == [2.6, 1.0]
    assert complex(Tensor(np.array(1 + 2j))) == 1 + 2j
    quotient, rest = divmod(Tensor(np.array([7, -7])), 2)
    assert (quotient.array.tolist(), rest.array.tolist()) == ([3, -4], [1, 1])
    assert f"{x:.1f}" == "2.6"


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_a_tensor_of_one_element_is_a_number_on_whatever_axes(shape):
    assert float(dg.full(shape, 2.5)) == 2.5
    assert int(dg.full(shape, 2.5)) == 2


@pytest.mark.parametrize("number", [float, int])
@pytest.mark.parametrize("shape", [0, 3])
def test_none_or_several_elements_are_no_number(number, shape):
    with pytest.raises(ValueError, match="size 1"):
        number(dg.ones(shape))


def test_dlpack_shares_the_memory_and_refuses_what_it_would_hide():
    t = dg.tensor([[1.0, 2.0, 3.0]])
    np.from_dlpack(t)[0, 1] = 7
    assert t.tolist() == [[1, 7, 3]]
    assert t.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match=r"requires gradients .* pass \.detach\(\)"):
        np.from_dlpack(dg.ones(3, requires_grad=True))
    with pytest.raises(BufferError, match=r"read-only .* pass \.clone\(\)"):
        np.from_dlpack(dg.ones(1).expand(3))


def test_memory_of_others_becomes_a_tensor():
    array = np.arange(3.0)
    shared = dg.from_dlpack(array)
    shared[0] = 5
    assert array[0] == 5
    assert dg.from_dlpack(array, copy=True).array is not array
    assert dg.frombuffer(b"\1\0\2\0", dtype=dg.int16).tolist() == [1, 2]
    with pytest.raises(dg.ShapeError, match="frombuffer: buffer size"):
        dg.frombuffer(b"\1\0\2", dtype=dg.int16)

"""What the tape says when it is used wrongly."""

from __future__ import annotations

import re

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import REGISTRY, gradcheck


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape), requires_grad=True)


def test_a_product_that_does_not_fit_names_the_axis():
    message = "matmul expects 'm k, k n -> m n'; got (3, 4), (5, 6): k is 4 in a but 5 in b"
    with pytest.raises(dg.ShapeError, match=f"^{re.escape(message)}$"):
        leaf(3, 4) @ leaf(5, 6)


def test_a_product_of_stacks_names_its_own_signature():
    with pytest.raises(dg.ShapeError, match=r"'\.\.\. m k, \.\.\. k n .*k is 4 in a but 5 in b"):
        leaf(2, 3, 4) @ leaf(2, 5, 6)


def test_a_linear_layer_that_does_not_fit_names_the_axis():
    with pytest.raises(dg.ShapeError, match=r"linear expects .*: i is 5 in x but 4 in weight"):
        dg.ops.linear(leaf(2, 5), leaf(3, 4), leaf(3))


def test_a_missing_axis_is_counted():
    with pytest.raises(dg.ShapeError, match=r"weight has 1 axes, not 2 \(o i\)"):
        dg.ops.linear(leaf(2, 3), leaf(3), leaf(3))


def test_a_numpy_function_without_a_gradient_is_named():
    with pytest.raises(dg.GradError, match=r"np\.polydiv is not an op.*docs/adding-an-op\.md"):
        np.polydiv(leaf(3), leaf(2))
    with pytest.raises(dg.GradError, match=r"np\.hypot\.reduce is not an operation"):
        np.hypot.reduce(leaf(3))


def test_out_would_overwrite_what_backward_needs():
    with pytest.raises(dg.GradError, match=r"np\.add in place .*would overwrite"):
        np.add(leaf(3), 1, out=np.empty(3))


def test_a_setting_by_position_is_told_its_name():
    with pytest.raises(dg.ShapeError, match=r"^sum expects .*: a by position, axis=, keepdims= by"):
        dg.ops.sum(leaf(3), 0)
    with pytest.raises(dg.ShapeError, match=r"^add expects .*: a, b by position, nothing by name$"):
        dg.ops.add(leaf(3), 0, 1)


def test_a_setting_that_an_op_does_not_take_is_named():
    with pytest.raises(dg.ShapeError, match=r"np\.sum on a Tensor does not take where; it takes"):
        np.sum(leaf(3), where=np.array([True, False, True]))


def test_backward_of_several_numbers_needs_a_gradient_of_their_shape():
    with pytest.raises(dg.GradError, match=r"this tensor has shape \(3,\): reduce it"):
        (leaf(3) * 2).backward()
    with pytest.raises(dg.ShapeError, match=r"gradient has shape \(2,\), the tensor \(3,\)"):
        (leaf(3) * 2).backward(np.ones(2))


def test_backward_of_something_that_was_not_recorded_says_why():
    with pytest.raises(dg.GradError, match=r"nothing to differentiate.*no_grad"):
        Tensor(np.ones(3)).sum().backward()


def test_integers_cannot_require_gradients():
    with pytest.raises(dg.GradError, match=r"only floating-point tensors.*int64.*astype"):
        Tensor(np.arange(3), requires_grad=True)


@pytest.mark.parametrize("cut", [np.asarray, Tensor.numpy])
def test_a_tensor_that_requires_gradients_does_not_turn_into_an_array_silently(cut):
    for x in (leaf(3), leaf(3) * 2):
        with pytest.raises(dg.GradError, match=r"silently cut the gradient; write \.detach\(\)\.n"):
            cut(x)
        assert cut(x.detach()) is x.array or (cut(x.detach()) == x.array).all()


def test_numbers_and_lists_leave_the_tape_as_in_pytorch():
    x = leaf(3) * 2
    assert x.tolist() == x.array.tolist()
    assert x[1].item() == float(x[1]) == x.array[1]


def test_a_number_is_formatted_as_a_number():
    x = Tensor(np.array([1.5, 2.25]), requires_grad=True)
    assert f"{x[1]:.3f} {x.sum():8.1e}" == "2.250  3.8e+00"
    assert f"{x[1]}" == str(x[1])
    with pytest.raises(TypeError, match="unsupported format string"):
        f"{x:.3f}"


def test_an_optional_input_that_was_left_out_is_shown_as_none():
    with pytest.raises(dg.ShapeError, match=r"got \(2, 5\), \(3, 4\), None: i is 5 in x but 4"):
        dg.ops.linear(leaf(2, 5), leaf(3, 4), None)


def declared(body):
    """``body`` as an op, out of the registry again."""
    made = dg.op("... -> ...")(body)
    del REGISTRY[made.name]
    return made


@pytest.mark.parametrize("shape", [(), (2,), (3,)])
def test_an_op_that_returns_only_its_value_is_told_what_to_return(shape):
    @declared
    def forgetful(a):
        return a * 2

    message = "op forgetful returned its value alone; it must return .value, closures.: .*each of a"
    with pytest.raises(dg.GradError, match=message):
        forgetful(leaf(*shape))


def test_an_op_that_returns_three_things_is_told_what_to_return():
    @declared
    def generous(a):
        return a, a, lambda g: g

    with pytest.raises(dg.GradError, match="op generous returned a tuple of 3"):
        generous(leaf(2))


def test_a_gradient_of_another_shape_names_the_op_and_the_input():
    @declared
    def clumsy(a):
        return a * 2, lambda g: g[:2]

    message = r"closure of clumsy to a returned shape \(2,\), which does not sum up to .* \(3,\)"
    with pytest.raises(dg.GradError, match=message):
        clumsy(leaf(3)).sum().backward()


def test_a_cell_of_a_notebook_may_declare_its_op_again():
    source = (
        "import distgrad as dg\n@dg.op('... -> ...')\ndef cell(a):\n    return a * {}, lambda g: g"
    )
    scope = {"__name__": "__main__", "dg": dg}
    try:
        for factor in (2, 3):
            exec(source.format(factor), scope)
        assert scope["cell"](leaf(2)).array.tolist() == [3, 3]
        with pytest.raises(ValueError, match="op 'cell' is declared twice"):
            exec(source.format(4), {"__name__": "elsewhere", "dg": dg})
    finally:
        del REGISTRY["cell"]


@pytest.mark.parametrize("constant", [3.0, np.ones(2), Tensor(np.ones(2))])
def test_gradcheck_of_a_constant_finds_its_gradient_to_be_zero(constant):
    assert gradcheck(lambda a: constant, [np.ones(3)], second=True)


def test_gradcheck_of_a_linear_function_has_a_second_gradient_of_zero():
    assert gradcheck(lambda a: a * 2, [np.ones(3)], second=True)


def test_gradcheck_without_anything_to_differentiate_says_so():
    with pytest.raises(dg.GradError, match="no input is a float64 array"):
        gradcheck(lambda a: a * 2, [np.ones(3, np.float32)])


@pytest.mark.parametrize("data", [None, "a", ["a", "b"], {}, [None, 1.0], np.array([None])])
def test_what_is_no_number_makes_no_tensor(data):
    for function in (dg.Tensor, dg.tensor, dg.exp):
        with pytest.raises(TypeError, match="a Tensor holds numbers or booleans; got"):
            function(data)

"""Facts that hold for every op; the registry is walked, nothing is listed."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import OPS, cases, cast, is_float, values_and_gradients

import distgrad as dg
from distgrad import ops
from distgrad.autograd import REGISTRY, grad, gradcheck, op

every_op = pytest.mark.parametrize("declared", OPS, ids=lambda o: o.name)


@every_op
def test_gradients_of_first_and_second_order_equal_central_differences(declared):
    with dg.reference_kernels():
        for inputs, settings in cases(declared):
            gradcheck(
                lambda *t, s=settings: declared(*t, **s), inputs, second=declared.second_order
            )


# In whole numbers NumPy's are whole: 1 // x, and what an array of them is padded with.
WHOLE = {"reciprocal", "pad_constant"}


@every_op
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whole_numbers_are_computed_as_those_of_float64_or_refused(declared):
    if declared.name in WHOLE:
        return
    with dg.reference_kernels():
        for inputs, settings in cases(declared):
            whole = [np.rint(2 * x) + 0.0 if is_float(x) else x for x in inputs]  # no -0
            results = []
            for dtype in (np.int64, np.float64):
                try:
                    found = declared(*cast(whole, dtype), **settings)
                except dg.DistgradError:
                    break
                results.append(found if isinstance(found, tuple) else (found,))
            else:
                for a, b in zip(*results, strict=True):
                    np.testing.assert_allclose(a.array, b.array, rtol=1e-6)


@every_op
def test_float32_stays_float32_forward_and_back(declared):
    with dg.reference_kernels():
        for inputs, settings in cases(declared):
            if "dtype" in settings:
                continue  # asks for another one
            for found in values_and_gradients(declared, cast(inputs, np.float32), settings):
                pivot = declared.name == "lu_factor" and found.dtype == np.int64
                assert pivot or found.dtype == np.float32, (settings, found.dtype)


# These take a tensor first.
TENSOR_FIRST = {"prelu": 1, "clamp": 1}


@pytest.mark.parametrize(
    "declared", [o for o in OPS if o.elementwise and len(o.inputs) > 1], ids=lambda o: o.name
)
@pytest.mark.parametrize("kind", [float, np.float64])
def test_a_number_beside_float32_does_not_widen_it(declared, kind):
    low, high = declared.domain
    for i in range(TENSOR_FIRST.get(declared.name, 0), len(declared.inputs)):
        number = (low + high) / 2 + 0.1
        inputs = [dg.Tensor(np.full(3, number, np.float32)) for _ in declared.inputs]
        inputs[i] = kind(number)
        assert declared(*inputs).dtype in (np.float32, np.complex64, np.bool_), i


@every_op
def test_no_input_is_changed(declared):
    for inputs, settings in cases(declared):
        before = [np.array(x) if is_float(x) else x for x in inputs]
        values_and_gradients(declared, inputs, settings)
        for x, old in zip(inputs, before, strict=True):
            if is_float(x):
                np.testing.assert_array_equal(x, old)


def _beside(declared, i, leaf, others, settings):
    """The values, and the gradient to ``leaf`` of their sum, where it is input ``i``."""
    found = declared(*[leaf if j == i else x for j, x in enumerate(others)], **settings)
    found = found if isinstance(found, tuple) else (found,)
    total = sum(np.sum(r) for r in found if r.requires_grad)
    return [r.array for r in found] + [
        g.array for g in grad(total, [leaf], allow_unused=True) if g is not None
    ]


@every_op
def test_lists_are_taken_for_arrays(declared):
    for inputs, settings in cases(declared):
        for i, x in enumerate(inputs):
            if is_float(x):
                leaf = dg.Tensor(x, requires_grad=True)
                lists = [v.tolist() if is_float(v) else v for v in inputs]
                arrays = [np.asarray(v) if type(v) is list else v for v in lists]
                old, new = (_beside(declared, i, leaf, o, settings) for o in (arrays, lists))
                for a, b in zip(old, new, strict=True):
                    np.testing.assert_array_equal(b, a)


@every_op
def test_it_has_a_docstring_and_signatures_of_its_inputs(declared):
    assert declared.__doc__
    assert declared.signatures
    for signature in declared.signatures:
        inputs, _ = signature.split("->")
        assert len(inputs.split(",")) == len(declared.inputs) or declared.variadic


@every_op
def test_an_op_says_whether_its_result_may_share_the_inputs_memory(declared):
    for inputs, settings in cases(declared):
        found = declared(*inputs, **settings)
        results = found if isinstance(found, tuple) else (found,)
        arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        if any(np.shares_memory(r.array, a) for r in results for a in arrays):
            assert declared.view


@every_op
def test_real_results_require_gradients_and_others_none(declared):
    for inputs, settings in cases(declared):
        given = [dg.Tensor(x, requires_grad=True) if is_float(x) else x for x in inputs]
        recorded = any(isinstance(x, dg.Tensor) for x in given)
        found = declared(*given, **settings)
        for result in found if isinstance(found, tuple) else (found,):
            assert result.requires_grad == (recorded and result.dtype.kind in "fc")
            assert result.is_leaf != result.requires_grad


def test_whole_numbers_made_of_real_ones_record_nothing():
    x = dg.Tensor(np.array([[0.5, 2.0, -1.0]]), requires_grad=True)
    for found in (x.astype(int), x.astype(bool), x.astype("uint8"), np.rint(x).astype(int)):
        assert not found.requires_grad
        assert found.is_leaf
    for found in (x > 1, x == 2, np.isnan(x), np.logical_and(x, x), np.searchsorted([0.0, 1.0], x)):
        assert not found.requires_grad
        assert found.is_leaf
    x.astype(int).numpy()[0, 0] = 3


def test_of_several_results_only_real_ones_require_gradients():
    @op("... -> ..., ...")
    def fraction_and_whole(a):
        whole = np.floor(a)
        return (a - whole, whole.astype(int)), lambda g, _: g

    del REGISTRY["fraction_and_whole"]
    x = dg.Tensor(np.array([0.5, 2.25]), requires_grad=True)
    fraction, whole = fraction_and_whole(x)
    assert fraction.requires_grad
    assert not whole.requires_grad
    assert whole.is_leaf
    np.sum(fraction * whole.array).backward()
    assert x.grad.array.tolist() == [0, 2]


def test_ops_exports_are_sorted_and_complete():
    assert ops.__all__ == sorted(ops.__all__)
    exported = {o for name in ops.__all__ if hasattr(o := getattr(ops, name), "signatures")}
    hidden = {"getitem", "add_at", "nan_to_num", "split", "squeeze", "unstack", "where"}
    missing = {o.name for o in OPS if o not in exported} - hidden
    assert not missing


def test_a_name_is_declared_once():
    with pytest.raises(ValueError, match="op 'relu' is declared twice"):

        @op("... -> ...")
        def relu(a):
            return a, lambda g: g

    assert REGISTRY["relu"] is ops.relu


def test_gradcheck_finds_a_wrong_gradient_and_names_the_input():
    def wrong(a, b):
        with dg.no_grad():
            hidden = a * b
        return a * 2 + hidden

    with pytest.raises(dg.GradError, match=r"gradient to input 0 \(shape \(3,\)\) is wrong by"):
        gradcheck(wrong, [np.arange(3.0), np.arange(1.0, 4.0)])


def test_gradcheck_finds_a_gradient_that_was_not_recorded():
    with pytest.raises(dg.GradError, match="gradient to input 0"):
        gradcheck(lambda a: dg.Tensor(a.array * a.array), [np.arange(1.0, 4.0)])


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_what_shares_memory_with_an_input_is_declared_a_view(op):
    for inputs, settings in cases(op):
        given = [np.asarray(x, np.float32) if is_float(x) else x for x in inputs]
        for body in (op.function, op.fused):
            result = None if body is None else body(*given, **settings)
            values = [] if result is None else result[0]
            for value in values if isinstance(values, tuple) else [values]:
                shared = [isinstance(x, np.ndarray) and np.shares_memory(x, value) for x in given]
                assert op.view or not any(shared)

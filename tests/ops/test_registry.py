"""Facts that hold for every op; the registry is walked, nothing is listed."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import OPS, cases, cast, is_float, values_and_gradients

import distgrad as dg
from distgrad import ops
from distgrad.autograd import REGISTRY, gradcheck, op

every_op = pytest.mark.parametrize("declared", OPS, ids=lambda o: o.name)


@every_op
def test_gradients_of_first_and_second_order_equal_central_differences(declared):
    with dg.reference_kernels():
        for inputs, settings in cases(declared):
            gradcheck(
                lambda *t, s=settings: declared(*t, **s), inputs, second=declared.second_order
            )


@every_op
def test_float32_stays_float32_forward_and_back(declared):
    with dg.reference_kernels():
        for inputs, settings in cases(declared):
            if "dtype" in settings:
                continue  # asks for another one
            for found in values_and_gradients(declared, cast(inputs, np.float32), settings):
                assert found.dtype == np.float32, (settings, found.dtype)


@every_op
def test_no_input_is_changed(declared):
    for inputs, settings in cases(declared):
        before = [np.array(x) if is_float(x) else x for x in inputs]
        values_and_gradients(declared, inputs, settings)
        for x, old in zip(inputs, before, strict=True):
            if is_float(x):
                np.testing.assert_array_equal(x, old)


@every_op
def test_it_has_a_docstring_and_signatures_of_its_inputs(declared):
    assert declared.__doc__
    assert declared.signatures
    for signature in declared.signatures:
        inputs, _ = signature.split("->")
        assert len(inputs.split(",")) == len(declared.inputs) or declared.name == "join"


def test_ops_exports_are_sorted_and_complete():
    assert ops.__all__ == sorted(ops.__all__)
    exported = {o for name in ops.__all__ if hasattr(o := getattr(ops, name), "signatures")}
    hidden = {"getitem", "add_at", "split", "squeeze", "where"}
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
        gradcheck(lambda a: dg.Tensor(a.data * a.data), [np.arange(1.0, 4.0)])

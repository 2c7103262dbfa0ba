"""What backward reads may not be changed in between: walked over the registry of ops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from op_cases import OPS, cases, is_float

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad


def changed(a):
    """Other values that are as good as ``a``'s: indices stay in range."""
    if a.dtype.kind == "f":
        return np.where(a == 0, 0.5, a * 0.75)
    return ~a if a.dtype.kind == "b" else np.roll(a, 1)


def gradients(declared, inputs, settings, wanted, change):
    """The gradients to the inputs ``wanted``, after ``change`` of one array behind the forward."""
    arrays = [np.array(x) if isinstance(x, np.ndarray) else x for x in inputs]
    settings = {k: np.array(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
    tensors = [Tensor(a, requires_grad=True) if i in wanted else a for i, a in enumerate(arrays)]
    result = declared(*tensors, **settings)
    results = result if isinstance(result, tuple) else (result,)
    rng = np.random.default_rng(11)
    total = sum(np.sum(r * rng.normal(size=r.shape).astype(r.dtype)) for r in results)
    if change is not None:
        a = settings[change] if isinstance(change, str) else arrays[change]
        a[...] = changed(a)
    return [g.array for g in grad(total, [tensors[i] for i in wanted])]


@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
@pytest.mark.parametrize("declared", OPS, ids=lambda o: o.name)
def test_an_array_changed_before_backward_is_refused_or_does_not_matter(declared, mode):
    noticed: list[str] = []
    for inputs, settings in cases(declared):
        given = [*enumerate(inputs), *settings.items()]
        arrays = [i for i, x in given if isinstance(x, np.ndarray)]
        floats = [i for i, x in enumerate(inputs) if i in arrays and is_float(x)]
        subsets = [c for k in range(len(floats)) for c in itertools.combinations(floats, k + 1)]
        for wanted in subsets:
            with mode():
                expected = gradients(declared, inputs, settings, wanted, None)
            for change in arrays:
                try:
                    with mode():
                        found = gradients(declared, inputs, settings, wanted, change)
                except dg.GradError as error:
                    noticed.append(str(error))
                    continue
                for f, e in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(
                        f, e, err_msg=f"to inputs {wanted}, input {change} changed, {settings}"
                    )
    assert all("was changed in place before backward" in message for message in noticed)


@pytest.mark.parametrize(
    "product", [np.matmul, np.dot, np.vdot, np.inner, np.linalg.vecdot], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("change", [0, 1])
def test_products_with_vectors_notice_a_change_of_either(product, change):
    arrays = [np.arange(1.0, 4.0), np.arange(3.0, 0.0, -1)]
    wanted = Tensor(arrays[1 - change], requires_grad=True)
    y = product(wanted, arrays[change]) if change else product(arrays[change], wanted)
    arrays[change] *= 2
    with pytest.raises(dg.GradError, match="was changed in place before backward"):
        y.backward()


def test_a_list_as_index_may_be_changed_before_backward():
    for index in ([0, 2], ([0, 2], slice(None))):
        x = Tensor(np.zeros((3, 2)), requires_grad=True)
        y = x[index].sum()
        (index if isinstance(index, list) else index[0])[0] = 1
        y.backward()
        assert x.grad.array[:, 0].tolist() == [1, 0, 1]


def test_what_two_closures_read_is_remembered_once():
    a, b, weight = (Tensor(np.ones((30, 30), np.float32), requires_grad=True) for _ in range(3))
    read = [id(saved[0]) for saved in dg.ops.lerp(a, b, weight)._node.read]
    assert len(read) == len({*read})

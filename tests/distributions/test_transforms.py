"""What transforms are besides their formulas: shapes, equality, caches; what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import distributions as D
from distgrad.distributions import constraints

T = D.transforms


def test_parameters_of_more_axes_widen_the_batch_and_its_samples():
    d = D.TransformedDistribution(D.Normal(0.0, 1.0), [T.AffineTransform(dg.tensor([1.0, 2.0]), 1)])
    assert d.batch_shape == (2,)
    one, two = d.sample((4000,)).numpy().T  # one number each, not one for both
    assert abs(np.corrcoef(one - 1, two - 2)[0, 1]) < 0.1
    assert T.PowerTransform(dg.tensor([1.0, 2.0])).forward_shape((3, 1)) == (3, 2)
    both = T.ComposeTransform([T.AffineTransform(dg.tensor([[1.0]]), 1), T.ExpTransform()])
    assert both.forward_shape((3,)) == (1, 3)
    assert T.IndependentTransform(both, 1).inverse_shape((3,)) == (1, 3)


def test_transforms_with_the_same_settings_are_equal():
    affine = T.AffineTransform(dg.tensor([1.0]), 2.0)
    assert affine == T.AffineTransform(dg.tensor([1.0]), 2.0, cache_size=1)
    assert affine != T.AffineTransform(dg.tensor([1.0]), 3.0)
    assert T.ExpTransform().inv == T.ExpTransform().inv
    assert T.ComposeTransform([affine]) == T.ComposeTransform([affine])
    assert len({T.ExpTransform(), T.ExpTransform()}) == 1


def test_with_cache_gives_the_very_x_back():
    t = T.ExpTransform().with_cache()
    x = dg.tensor([1.0])
    assert t.inv(t(x)) is x
    assert t.with_cache(1) is t
    assert t.with_cache(0).inv(t(x)) is not x


def test_events_of_too_few_axes_are_refused():
    with pytest.raises(ValueError, match="too few axes for events of 1"):
        T.IndependentTransform(T.ExpTransform(), 1)(dg.tensor(1.0))
    with pytest.raises(ValueError, match="is of vectors"):
        T.SoftmaxTransform().forward_shape(())
    with pytest.raises(TypeError, match="parts is a sequence of values that are each a Transform"):
        T.ComposeTransform([1])


def test_parameters_that_are_no_real_numbers_are_refused():
    with pytest.raises(ValueError, match="Tensors of real numbers"):
        D.Normal(dg.tensor([1j]), 1.0)
    for bad in (None, "a"):
        with pytest.raises(TypeError, match="Normal: loc is a Tensor, an array or numbers; got"):
            D.Normal(bad, 1.0)
    with pytest.raises(ValueError, match="0 <= reinterpreted_batch_ndims"):
        D.Independent(D.Normal(dg.zeros(3), 1.0), -1)


def test_constraints_tell_their_bounds():
    assert constraints.interval(0.0, 2.0).upper_bound == 2.0
    assert constraints.greater_than(1.0).lower_bound == 1.0
    assert D.Uniform(0.0, 3.0).support.upper_bound.item() == 3.0
    assert constraints.is_dependent(constraints.dependent)
    assert constraints.is_dependent(constraints.dependent(event_dim=1))


def test_quantiles_of_python_numbers_have_the_parameters_dtype():
    assert D.Normal(0.0, 1.0).icdf(0.3).dtype == np.float32
    assert D.Normal(0.0, 1.0).sample_n(3).shape == (3,)

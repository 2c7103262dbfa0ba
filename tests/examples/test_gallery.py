"""The gallery's programs in short form: what they learn is learnt."""

from __future__ import annotations

import bayesian_network
import fluid
import gaussian_process
import numpy as np
import pytest

import distgrad as dg


def test_a_gaussian_process_learns_its_noise_and_is_unsure_in_the_gap() -> None:
    x, y = gaussian_process.drawn(40, 0)
    parameters, losses = gaussian_process.fit(x, y, 40)
    assert losses[-1] < losses[0] - 15
    assert 0.07 < np.exp(parameters["log_noise"].item()) < 0.15
    at = np.array([-2.0, 0.0, 2.0])
    mean, deviation = gaussian_process.posterior(parameters, x, y, at)
    np.testing.assert_allclose(mean[[0, 2]], np.sin(2 * at[[0, 2]]), atol=0.2)
    assert deviation[1] > 4 * deviation[[0, 2]].max()


def test_smoke_is_stirred_towards_the_picture() -> None:
    losses, end = fluid.stir(12, 4, 25)
    assert losses[-1] < 0.3 * losses[0]
    assert end.shape == (12, 12)


def test_a_velocity_that_is_projected_has_no_sources() -> None:
    rng = np.random.default_rng(0)
    velocity = [dg.Tensor(rng.normal(size=(9, 9))) for _ in range(2)]
    once = fluid.project(*velocity)
    for a, b in zip(once, fluid.project(*once), strict=True):
        np.testing.assert_allclose(a.array, b.array, atol=1e-12)


@pytest.mark.slow
def test_a_bayesian_network_is_less_sure_where_it_saw_nothing() -> None:
    dg.manual_seed(0)
    x, y = bayesian_network.drawn(0)
    beliefs = bayesian_network.Beliefs([1, 20, 20, 1], 0)
    losses = [*bayesian_network.train(beliefs, x, y, 1500, 0.01)]
    assert np.mean(losses[-100:]) < 0.1 * losses[0]
    _, deviation = bayesian_network.predicted(beliefs, np.array([[-1.5], [0.0], [1.5]]))
    assert deviation[1] > 1.5 * deviation[[0, 2]].max()

"""The cart-pole's mechanics, and what an episode is."""

from __future__ import annotations

import numpy as np
import policy
import pytest
from training import alone

import distgrad as dg


def test_a_push_fulfils_newtons_equations_of_cart_and_pole() -> None:
    # Barto, Sutton & Anderson (1983) solve these two for the accelerations, here without friction:
    # (M + m) x'' + m l (θ'' cos θ - θ'² sin θ) = F and 4/3 l θ'' + x'' cos θ = g sin θ.
    state = np.random.default_rng(0).uniform(-1, 1, (50, 4))
    right = np.arange(50) % 3 == 0
    rate = (policy.push(state, right) - state) / 0.02
    _, speed, angle, spin = state.T
    sin, cos, force = np.sin(angle), np.cos(angle), np.where(right, 10, -10)
    np.testing.assert_allclose(rate[:, [0, 2]].T, [speed, spin])
    cart = 1.1 * rate[:, 1] + 0.1 * 0.5 * (rate[:, 3] * cos - spin**2 * sin)
    np.testing.assert_allclose(cart, force, rtol=1e-9)
    pole = 4 / 3 * 0.5 * rate[:, 3] + rate[:, 1] * cos
    np.testing.assert_allclose(pole, 9.8 * sin, rtol=1e-9, atol=1e-9)


def test_returns_are_discounted_sums_of_what_is_still_to_come() -> None:
    running = dg.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    found = policy.returns(running, 0.5)
    assert found.tolist() == [[1.75, 1.0], [1.5, 0.0], [1.0, 0.0]]


def always_right(state: dg.Tensor) -> dg.distributions.Categorical:
    return dg.distributions.Categorical(logits=dg.tensor([0.0, 50.0]).expand(len(state), 2))


def test_an_episode_ends_where_the_pole_falls_and_counts_that_step() -> None:
    states, actions, running = alone(lambda: policy.play(always_right, 3))
    assert bool((actions == 1).all())
    assert running.shape == states.shape[:2] == actions.shape
    lengths = running.sum(dim=0).int().tolist()
    assert len(running) == max(lengths) < 15  # pushed one way, a pole falls within 0.3 s
    for i, length in enumerate(lengths):
        fell = states[:, i, 2].abs() > np.radians(12)
        assert not bool(fell[:length].any())
        assert running[:, i].tolist() == [1.0] * length + [0.0] * (len(running) - length)


@pytest.mark.parametrize("longest", [3, 7])
def test_an_episode_ends_after_its_longest_time(longest: int, monkeypatch) -> None:
    monkeypatch.setattr(policy, "LONGEST", longest)
    assert alone(lambda: policy.play(always_right, 2))[2].tolist() == [[1.0, 1.0]] * longest

"""What counts as vanishing, exploding, dead and not finite, on numbers written by hand."""

import numpy as np
import pytest

from distgrad.observe.gradients.diagnosis import ADVICE, KINDS, Limits, Measured, diagnose


def found(gradient, weight=None, past=(), local=None, compared=None, finite=None):
    """Return (kind, row, shards) of each finding; all weights 1, limits 1e-2 and 100."""
    g = np.array(gradient, float)
    w = np.ones_like(g) if weight is None else np.array(weight, float)
    own = np.empty((0, len(g))) if local is None else np.array(local, float)
    shards = 10 + np.arange(len(own))
    rows = np.ones(len(g), bool) if compared is None else np.array(compared)
    now = Measured(7, g, w, shards, own, finite)
    before = [np.array(p, float) for p in past]
    return [(f.kind, f.row, f.shards) for f in diagnose(now, before, Limits(1e-2, 100.0, rows))]


def test_a_layer_vanishes_beside_the_median_one():
    assert found([0.009, 1, 1, 1, 5]) == [("vanishing", 0, ())]
    assert found([0.011, 1, 1, 1, 5]) == []


def test_it_is_the_ratio_to_the_weights_that_vanishes():
    assert found([0.001, 1, 1], weight=[0.001, 1, 1]) == []
    assert found([1, 1, 1], weight=[1000, 1, 1]) == [("vanishing", 0, ())]


def test_all_gradients_may_become_small_together():
    assert found([1e-9, 1e-9, 2e-9]) == []


def test_of_two_layers_none_is_the_odd_one():
    assert found([1e-9, 1]) == []


def test_gains_of_normalisation_layers_are_not_compared():
    assert found([1e-9, 1, 1, 1], compared=[False, True, True, True]) == []


def test_weights_of_zero_have_no_ratio():
    assert found([1, 1e-9, 1, 1], weight=[0, 1, 1, 1]) == [("vanishing", 1, ())]


PAST = [[1.0, 1.0]] * 5


def test_a_layer_explodes_beside_its_own_past():
    assert found([101, 1], weight=[50, 50], past=PAST) == [("exploding", 0, ())]
    assert found([99, 1], weight=[50, 50], past=PAST) == []


def test_a_past_of_four_steps_says_nothing():
    assert found([101, 1], weight=[50, 50], past=PAST[:4]) == []


def test_steps_that_were_not_finite_do_not_raise_what_is_usual():
    past = [*PAST, *[[np.inf, np.inf]] * 4]
    assert found([101, 1], weight=[50, 50], past=past) == [("exploding", 0, ())]


def test_a_layer_that_wakes_up_does_not_explode():
    assert found([0.5, 1], weight=[50, 50], past=[[1e-4, 1.0]] * 5) == []


def test_a_layer_explodes_beside_all_weights_without_any_past():
    assert found([501, 1], weight=[3, 4]) == [("exploding", 0, ())]
    assert found([499, 1], weight=[3, 4]) == []


@pytest.mark.parametrize(
    ("local", "shards"),
    [
        ([[600, 1]] * 3, ()),
        ([[1, 1], [900, 1], [1, 1]], (11,)),
        ([[1, 1], [900, 1]], (11,)),
        ([[900, 1], [1, 1], [900, 1], [1, 1]], (10, 12)),
        ([[600, 1]], ()),
    ],
)
def test_the_shards_that_stand_out_are_named(local, shards):
    assert found([600, 1], weight=[3, 4], local=local) == [("exploding", 0, shards)]


def test_zero_is_dead_none_is_nothing():
    assert found([0, np.nan, 1, 1]) == [("dead", 0, ())]


def test_what_is_not_finite_is_named_with_its_shards():
    local = [[1, 1], [np.inf, 1], [np.inf, 1]]
    assert found([np.inf, 1], local=local) == [("nonfinite", 0, (11, 12))]


def test_a_loss_that_alone_is_not_finite_has_no_row():
    local = [[1, 1], [np.inf, np.inf]]
    assert found([1, 1], local=local, finite=False) == [("nonfinite", -1, (11,))]
    assert found([1, 1], local=local, finite=True) == []


def test_there_is_advice_on_every_kind():
    assert set(ADVICE) == set(KINDS)

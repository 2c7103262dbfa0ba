"""FlatLayout: where arrays lie in a flat buffer, and tensors that know their place in one."""

import copy

import numpy as np
from moving import move_

from distgrad import Tensor
from distgrad.autograd.flat import place_of
from distgrad.autograd.layout import FlatLayout, span

SHAPES = [(2, 3), (), (0, 4), (5,)]


def test_arrays_lie_side_by_side_without_gaps():
    layout = FlatLayout.of(SHAPES)
    assert [(s.start, s.stop) for s in layout.slots] == [(0, 6), (6, 7), (7, 7), (7, 12)]
    assert layout.size == 12
    assert span(layout.slots[1:3]) == slice(6, 7)
    assert FlatLayout.of([]).size == 0


def test_a_slot_gives_the_view_of_its_array():
    flat = np.arange(14.0)  # longer than the layout: a bucket's flags lie behind
    views = [slot.view(flat) for slot in FlatLayout.of(SHAPES).slots]
    assert [v.shape for v in views] == SHAPES
    assert views[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    views[1][...] = -1
    assert flat[6] == -1


def test_a_tensor_knows_its_place_until_it_is_given_another_array():
    a, b = Tensor(np.arange(3.0)), Tensor(np.arange(4.0).reshape(2, 2))
    assert place_of(a) is None
    move_([a, b])
    assert b.array.tolist() == [[0, 1], [2, 3]]
    place = place_of(b)
    assert place.buffer is place_of(a).buffer
    assert (place.slot.start, place.slot.stop) == (3, 7)
    b.array += 1  # in place: it stays
    assert place.buffer.values.tolist() == [0, 1, 2, 1, 2, 3, 4]
    assert place_of(copy.deepcopy(b)) is None
    b.array = b.array.copy()
    assert place_of(b) is None


def test_a_gradient_is_written_to_the_tensors_place():
    a, b = (Tensor(np.zeros(n, np.float32), requires_grad=True) for n in (3, 2))
    move_([a, b])
    gradients = place_of(a).buffer.gradients
    gradients[...] = 0
    np.sum(b * np.array([5, 7], np.float32)).backward()
    assert gradients.tolist() == [0, 0, 0, 5, 7]

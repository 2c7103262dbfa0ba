"""The pairs of the siamese network."""

from __future__ import annotations

import numpy as np
import siamese

import distgrad as dg


def test_a_pair_depends_on_its_number_alone_and_says_whether_the_classes_are_equal() -> None:
    _, images = dg.data.digits()
    pairs, again = siamese.Pairs(images, rounds=2), siamese.Pairs(images, rounds=2)
    labels = {image.tobytes(): label for image, label in zip(*images.arrays, strict=True)}
    shown, answers = [], []
    for i in reversed(range(len(pairs))):
        one, two, same = pairs[i]
        assert [a.tobytes() for a in again[i]] == [a.tobytes() for a in (one, two, same)]
        assert (labels[one.tobytes()] == labels[two.tobytes()]) == same
        shown.append(one.tobytes())
        answers.append(same)
    assert np.mean(answers) == 0.5
    by_image = {
        image: [a for s, a in zip(shown, answers, strict=True) if s == image] for image in shown
    }
    assert {tuple(sorted(a)) for a in by_image.values()} == {(0, 1)}

"""The vocabulary of annotations: what each word holds, excludes and says."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from distgrad import kinds
from distgrad.kinds import Kind, either, number, one_of, one_or_several, sequence_of, whole

NAN, INF = float("nan"), float("inf")
# Of each word: what it says, values that it holds, values that it does not.
WORDS: dict[str, tuple[str, list[Any], list[Any]]] = {
    "Integer": ("a whole number", [-1, np.int8(0)], [1.0, True, "1", None, NAN]),
    "Count": ("a whole number, 0 or more", [0, 3], [-1, 1.0]),
    "Size": ("a whole number above 0", [1], [0, False]),
    "Integers": ("a whole number, or one for each axis", [-1, (1, -2), [3]], [(), (1, None)]),
    "Counts": ("a whole number, 0 or more, or one for each axis", [0, [0, 1]], [-1, (1, -1)]),
    "Sizes": ("a whole number above 0, or one for each axis", [np.array([1, 2])], [0, (1, 0)]),
    "Lengths": ("a whole number, 0 or more, or one for each axis", [None, (None, 3)], [-1, ()]),
    "Times": ("a whole number, 0 or more", [0, 2.0, np.float32(3)], [0.5, NAN, INF, -1.0]),
    "Steps": ("a whole number above 0", [1, 1.0], [0, 0.0, 1.5, "1"]),
    "NonNegative": ("a number, 0 or more", [0, 0.5, INF, np.array(1.0)], [-1, NAN, "1", 1j]),
    "Positive": ("a number above 0", [1e-9, INF], [0, -1.0, NAN]),
    "Fraction": ("a number, from 0 to 1", [0, 1, 0.5], [1.1, -0.1]),
    "Decay": ("a number in [0, 1)", [0, 0.999], [1, 1.0, -0.1]),
    "Probability": ("a probability, from 0 to 1", [0, 1], [2, "0.5"]),
    "AnyNumber": ("a number", [NAN, -INF, 3], ["3", None, 1j]),
    "TrueOrFalse": ("True or False", [True, False], [0, 1, np.True_, None]),
}


def test_no_word_is_missing_here():
    found = {name for name, hint in vars(kinds).items() if _kind(hint) is not None}
    assert found == set(WORDS)


def _kind(hint: Any) -> Kind | None:
    return next((note for note in get_args(hint) if isinstance(note, Kind)), None)


@pytest.mark.parametrize("name", WORDS)
def test_a_word_holds_what_it_says(name):
    kind, (words, right, wrong) = _kind(getattr(kinds, name)), WORDS[name]
    assert kind.words == words
    assert [v for v in right if not kind.holds(v)] == []
    assert [v for v in wrong if kind.holds(v)] == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (whole(0, 3), "a whole number, from 0 to 3"),
        (whole(8), "a whole number, 8 or more"),
        (number(high=0), "a number, 0 or less"),
        (number(1, without=[1]), "a number above 1"),
        (number(0, 1, without=[0]), "a number in (0, 1]"),
        (one_of("a", 2), "'a' or 2"),
        (sequence_of(whole(1)), "a sequence of whole numbers above 0"),
        (either(kinds.NONE, kinds.SWITCH), "True or False or None"),
        (
            either(one_or_several(whole()), kinds.NONE),
            "a whole number, or one for each axis, or None",
        ),
    ],
)
def test_other_kinds_say_what_they_are(kind, words):
    assert kind.words == words


def test_an_open_end_is_left_out():
    assert [x for x in (0, 0.5, 1) if number(0, 1, without=[0, 1]).holds(x)] == [0.5]
    assert [x for x in (0, 1, "a", True, None) if one_of("a", 1).holds(x)] == [1, "a"]

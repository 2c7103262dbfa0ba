"""Data sets give the same samples one by one and many at a time, and refuse to be empty."""

from importlib.resources import files

import numpy as np
import pytest

from distgrad import data
from distgrad.errors import DataError


class Squares:
    """A user's data set without batched fetch; sample i depends on i alone."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return np.full((2,), index**2, np.float32), index


SETS = {
    "arrays": data.ArrayDataset(np.arange(21.0).reshape(7, 3), np.arange(7) * 10),
    "text": data.TextDataset(np.arange(10, dtype=np.uint16) ** 2, 3),
    "squares": Squares(),
    "subset": data.Subset(data.TextDataset(np.arange(20), 4), [9, 3, 3, 15, 0, 1, 2]),
    "subset of squares": data.Subset(Squares(), np.array([6, 5, 4, 3, 2, 1, 0])),
    "subset of a subset": data.Subset(data.Subset(Squares(), [6, 1, 3, 0, 5, 5, 2]), range(7)),
}


@pytest.mark.parametrize("name", SETS)
def test_a_batch_is_its_samples_stacked(name):
    dataset = SETS[name]
    assert isinstance(dataset, data.Dataset)
    assert len(dataset) == 7
    order = np.array([6, 0, 3, 3, 1])
    fields = data.fetch(dataset, order)
    for k, field in enumerate(fields):
        expected = np.stack([np.asarray(dataset[int(i)][k]) for i in order])
        np.testing.assert_array_equal(field, expected)
        assert field.dtype == expected.dtype
        assert field.flags.c_contiguous


@pytest.mark.parametrize("name", SETS)
def test_a_batch_is_a_copy(name):
    dataset = SETS[name]
    before = [field.copy() for field in data.fetch(dataset, [2, 4])]
    for field in data.fetch(dataset, [2, 4]):
        np.add(field, 1, out=field)
    for old, new in zip(before, data.fetch(dataset, [2, 4]), strict=True):
        np.testing.assert_array_equal(old, new)


def test_text_windows_are_every_one_and_y_is_x_one_later():
    tokens = np.array([5, 3, 8, 1, 9, 2], np.uint8)
    dataset = data.TextDataset(tokens, 4)
    assert len(dataset) == 2
    for i in range(2):
        x, y = dataset[i]
        np.testing.assert_array_equal(x, tokens[i : i + 4])
        np.testing.assert_array_equal(y, tokens[i + 1 : i + 5])
        assert x.dtype == y.dtype == np.int64
    with pytest.raises(IndexError):
        dataset[2]


def test_iterating_ends():
    assert len(list(SETS["arrays"])) == 7
    assert len(list(SETS["text"])) == 7


def test_single_array_samples_become_one_field():
    (field,) = data.fetch([np.array([1, 2]), np.array([3, 4]), np.array([5, 6])], [2, 0])
    np.testing.assert_array_equal(field, [[5, 6], [1, 2]])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (data.ArrayDataset, "got no array"),
        (lambda: data.ArrayDataset(np.zeros((0, 3)), np.zeros(0)), r"no samples.*\(0, 3\)"),
        (lambda: data.ArrayDataset(np.zeros((3, 2)), np.zeros(4)), r"got \(3, 2\), \(4,\)"),
        (lambda: data.ArrayDataset(np.zeros(3), np.float64(1)), r"got \(3,\), \(\)"),
        (lambda: data.TextDataset(np.arange(4), 4), "4 tokens hold no window of context 4"),
        (lambda: data.TextDataset(np.zeros(0, int), 1), "0 tokens hold no window"),
        (lambda: data.TextDataset(np.arange(4), 0), "context is 0"),
        (lambda: data.TextDataset(np.arange(4.0), 2), r"1-d integers; got float64"),
        (lambda: data.TextDataset(np.zeros((2, 9), int), 2), r"1-d integers.*\(2, 9\)"),
        (lambda: data.Subset(Squares(), []), "no samples"),
        (lambda: data.Subset(Squares(), [0, 7]), "Subset of 7 samples cannot have sample 7"),
        (lambda: data.Subset(Squares(), [0, -1]), "cannot have sample -1"),
        (lambda: data.Subset(Squares(), [True, False]), "1-d integers; got bool"),
        (lambda: data.fetch(Squares(), []), "no samples"),
        (lambda: data.fetch([(np.zeros(2),), (np.zeros(3),)], [0, 1]), "cannot be stacked"),
        (lambda: data.fetch([(1, 2), (1,)], [0, 1]), "cannot be stacked"),
    ],
)
def test_bad_data_is_named(build, message):
    with pytest.raises(DataError, match=message):
        build()


def test_digits_are_the_real_ones_split_as_documented():
    train, test = data.digits()
    assert (len(train), len(test)) == (1438, 359)
    for half in (train, test):
        images, labels = half.arrays
        assert images.shape[1:] == (1, 8, 8)
        assert (images.dtype, labels.dtype) == (np.float32, np.int64)
        assert (images.min(), images.max()) == (0, 1)
        assert set(labels) == set(range(10))
    # The first line of the original file, and the fifth image, which is the first test image.
    assert list((train.arrays[0][0, 0, 0] * 16).astype(int)) == [0, 0, 5, 13, 9, 1, 0, 0]
    assert list(train.arrays[1][:5]) == [0, 1, 2, 3, 5]
    assert test.arrays[1][0] == 4


def test_digits_can_be_told_apart():
    train, test = data.digits()
    known = train.arrays[0].reshape(len(train), -1)
    asked = test.arrays[0].reshape(len(test), -1)
    distances = (known**2).sum(1) - 2 * asked @ known.T  # up to a term of `asked` alone
    nearest = train.arrays[1][distances.argmin(1)]
    assert (nearest == test.arrays[1]).mean() > 0.98


def test_the_embedded_files_are_small_and_carry_their_licence():
    folder = files("distgrad.data").joinpath("files")
    sizes = {entry.name: len(entry.read_bytes()) for entry in folder.iterdir()}
    assert sum(sizes.values()) < 100_000
    text = folder.joinpath("digits.LICENSE.txt").read_text()
    for word in ("Alpaydin", "Kaynak", "CC BY 4.0", "https://archive.ics.uci.edu/dataset/80"):
        assert word in text

"""Image transforms: what each does, and the same images on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import Tensor
from distgrad.data import transforms as T

X = np.arange(5 * 3 * 8 * 10.0).reshape(5, 3, 8, 10).astype(np.float32) / 1200


def run(transform, x=X):
    return alone(lambda: transform(x))


def test_to_tensor_puts_channels_first_and_bytes_between_0_and_1():
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    found = T.ToTensor()(image)
    assert found.shape == (3, 2, 4)
    assert found.dtype == np.float32
    assert found[1, 1, 2] == np.float32(image[1, 2, 1]) / np.float32(255)
    assert T.ToTensor()(image[..., 0]).shape == (1, 2, 4)
    assert T.ToTensor()(image[None]).shape == (1, 3, 2, 4)
    assert T.ToTensor()(image.astype(float)).max() == 23


def test_normalize():
    found = T.Normalize((0.1, 0.2, 0.3), (1, 2, 4))(X)
    np.testing.assert_allclose(found[:, 2], (X[:, 2] - np.float32(0.3)) / 4, rtol=1e-6)
    assert found.dtype == np.float32


def test_flips_mirror_some_samples_and_leave_the_others():
    for kind, axis in ((T.RandomHorizontalFlip, -1), (T.RandomVerticalFlip, -2)):
        np.testing.assert_array_equal(run(kind(1.0)), np.flip(X, axis))
        np.testing.assert_array_equal(run(kind(0.0)), X)
        many = np.repeat(X[:1], 400, axis=0)
        flipped = (run(kind(0.25), many) != many).any((1, 2, 3))
        assert 60 < flipped.sum() < 140


def test_random_crop_takes_a_window_of_each_padded_image():
    found = run(T.RandomCrop(6, padding=2))
    padded = np.pad(X, ((0, 0), (0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 6, 6), axis=(1, 2, 3))[:, 0]
    places = [np.argwhere((w == f).all((2, 3, 4))) for w, f in zip(windows, found, strict=True)]
    assert all(len(p) for p in places)
    assert len({tuple(p[0]) for p in places}) > 1


def test_every_place_of_a_crop_is_as_likely():
    many = np.repeat(np.arange(4.0).reshape(1, 1, 1, 4), 2000, axis=0)
    first = run(T.RandomCrop((1, 2)), many)[:, 0, 0, 0]
    assert np.all(np.abs(np.bincount(first.astype(int), minlength=3) / 2000 - 1 / 3) < 0.06)


def test_crops_of_small_images_are_padded_if_that_is_asked_for():
    assert run(T.RandomCrop((9, 12), pad_if_needed=True)).shape == (5, 3, 9, 12)
    assert T.CenterCrop(12)(X).shape == (5, 3, 12, 12)
    with pytest.raises(dg.DataError, match=r"size .9, 9. is larger than the images .8, 10."):
        run(T.RandomCrop(9))


def test_center_crop_and_pad():
    np.testing.assert_array_equal(T.CenterCrop((4, 6))(X), X[:, :, 2:6, 2:8])
    found = T.Pad((1, 2, 3, 4), fill=7)(X)
    assert found.shape == (5, 3, 14, 14)
    assert found[0, 0, 1, 5] == 7
    np.testing.assert_array_equal(found[:, :, 2:-4, 1:-3], X)
    np.testing.assert_array_equal(
        T.Pad(1, padding_mode="reflect")(X), np.pad(X, [(0, 0), (0, 0), (1, 1), (1, 1)], "reflect")
    )


def test_resize_keeps_constants_and_proportions():
    np.testing.assert_allclose(T.Resize((3, 5))(np.full_like(X, 0.3)), 0.3, rtol=1e-6)
    assert T.Resize(4)(X).shape == (5, 3, 4, 5)
    assert T.Resize((16, 20), interpolation="nearest")(X).shape == (5, 3, 16, 20)
    whole = T.Resize((3, 3))((X * 255).astype(np.uint8))
    assert whole.dtype == np.uint8


def test_random_resized_crop_shows_a_part():
    found = run(T.RandomResizedCrop(5))
    assert found.shape == (5, 3, 5, 5)
    assert np.all(found.min((1, 2, 3)) >= X.min((1, 2, 3)) - 1e-6)
    assert np.all(found.max((1, 2, 3)) <= X.max((1, 2, 3)) + 1e-6)
    whole = run(T.RandomResizedCrop((8, 10), scale=(1, 1), ratio=(1.25, 1.25)))
    np.testing.assert_allclose(whole, X, rtol=1e-6)


def test_random_erasing_fills_one_rectangle():
    found = run(T.RandomErasing(1.0, value=(-1, -2, -3)), X + 1)
    for image in found:
        holes = image < 0
        assert holes.any()
        rows, columns = holes[0].any(1).sum(), holes[0].any(0).sum()
        assert holes[0].sum() == rows * columns
        assert set(image[2][holes[2]]) == {-3}
    np.testing.assert_array_equal(run(T.RandomErasing(0.0)), X)
    assert len(np.unique(run(T.RandomErasing(1.0, value="random"), X * 0))) > 10


def test_color_jitter_moves_brightness_contrast_and_saturation():
    np.testing.assert_allclose(run(T.ColorJitter((0.5, 0.5))), X / 2, rtol=1e-6)
    found = run(T.ColorJitter(contrast=(0, 0)))
    assert np.ptp(found, axis=(1, 2, 3)).max() < 1e-6
    found = run(T.ColorJitter(saturation=(0, 0)))
    np.testing.assert_allclose(found[:, 0], found[:, 2], rtol=1e-6)
    changed = run(T.ColorJitter(0.4, 0.4, 0.4))
    assert changed.min() >= 0
    assert changed.max() <= 1
    factors = (run(T.ColorJitter(0.4)) / np.maximum(X, 1e-6))[:, 0, 0, 5]
    assert len(np.unique(factors.round(4))) > 1


def test_one_image_and_tensors_come_back_as_they_were_given():
    for transform in ALL:
        one = run(transform, X[0])
        assert one.ndim == 3
        found = run(transform, Tensor(X))
        assert isinstance(found, Tensor)
        assert found.dtype == np.float32


ALL = [
    T.Compose([T.RandomCrop(8, padding=4), T.RandomHorizontalFlip(), T.Normalize(0.5, 0.2)]),
    T.RandomResizedCrop(6),
    T.RandomErasing(),
    T.ColorJitter(0.4, 0.4, 0.4),
    T.RandomApply([T.RandomVerticalFlip(1.0)]),
]


@pytest.mark.parametrize("number", range(len(ALL)))
def test_images_are_the_same_on_any_number_of_ranks(number):
    def body():
        dg.init(shards=4)
        dg.manual_seed(3)
        data = dg.data.ArrayDataset(np.repeat(X, 2, axis=0), np.arange(10))
        found = {}
        for batch in dg.data.DataLoader(data, 5):  # the second batch leaves no shard empty
            for x, y in batch.shards:
                for image, label in zip(ALL[number](x), y, strict=True):
                    found[int(label)] = image.tobytes()
        return found

    [expected] = simulated(1, body)
    assert len(expected) == 10
    for size in (2, 3, 4):
        merged = {}
        for part in simulated(size, body):
            merged |= part
        assert merged == expected


@pytest.mark.parametrize("number", range(len(ALL)))
def test_a_batch_without_images_stays_one(number):
    found = run(ALL[number], X[:0])
    assert found.shape[0] == 0
    assert found.ndim == 4


REFUSED = {
    "axes": (lambda: T.RandomHorizontalFlip()(X[0, 0]), r"got shape \(8, 10\): ToTensor"),
    "whole": (lambda: T.Normalize(0, 1)(X.astype(int)), "ToTensor.. first"),
    "channels": (lambda: T.Normalize((0, 0), 1)(X), "2 numbers of mean for 3 channels"),
    "zero": (lambda: T.Normalize(0, 0), "has a zero"),
    "p": (lambda: T.RandomHorizontalFlip(1.5), r"p=1.5 is a probability"),
    "hue": (lambda: T.ColorJitter(hue=0.1), "hue is not supported"),
    "mode": (lambda: T.Pad(1, padding_mode="wrap"), "'wrap' is none of"),
    "interpolation": (lambda: T.Resize(3, "bicubic"), "'bicubic' is not supported"),
    "size": (lambda: T.CenterCrop((1, 2, 3)), "one or two whole numbers"),
    "value": (lambda: T.RandomErasing(value="noise"), "numbers or 'random'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(dg.DataError, match=message):
        call()

"""The U-Net's figures: regions that hang together, and each cell's overlap with its own."""

from __future__ import annotations

import numpy as np
import pytest
import unet


def test_pixels_that_touch_by_a_side_get_one_number_and_images_do_not_mix() -> None:
    mask = np.array([[[1, 1, 0], [0, 1, 0], [1, 0, 1]], [[1, 1, 1], [1, 0, 0], [1, 1, 1]]]) == 1
    numbers = unet.connected(mask)
    assert np.array_equal(numbers > 0, mask)
    assert len(np.unique(numbers[0])) == 4  # none, and three regions: corners do not join
    assert len(np.unique(numbers[1])) == 2
    assert not set(numbers[0][mask[0]]) & set(numbers[1][mask[1]])


def test_cells_that_were_found_as_one_region_count_for_the_one_that_they_cover() -> None:
    cells = np.zeros((1, 6, 12))
    cells[0, 1:5, 1:5], cells[0, 1:5, 7:11] = 1, 2  # 16 pixels each
    assert unet.ious_per_cell(cells > 0, cells) == [1, 1]
    joined = cells.copy()
    joined[0, 1, 5:7] = 1
    assert unet.ious_per_cell(joined > 0, cells) == [16 / 34, 16 / 34]
    half = cells.copy()
    half[0, 1:5, 2] = 0  # what is right of it is half a cell, not more
    assert unet.ious_per_cell(half > 0, cells) == [0, 1]


@pytest.mark.parametrize("number", range(3))
def test_cells_of_an_image_do_not_touch_and_gaps_between_them_weigh_most(number: int) -> None:
    image, cells, weight = unet.microscope(number, 64)
    assert image.shape == (64, 64)
    for a, b in ((cells[1:], cells[:-1]), (cells[:, 1:], cells[:, :-1])):
        assert not np.any((a != b) & (a > 0) & (b > 0))
    assert len(np.unique(unet.connected(cells[None] > 0))) == len(np.unique(cells))
    assert np.all(weight[cells > 0] == 1)
    assert 5 < weight.max() <= 11


def test_an_image_is_a_function_of_its_number() -> None:
    assert np.array_equal(unet.microscope(3, 32), unet.microscope(3, 32))
    assert not np.array_equal(unet.microscope(3, 32), unet.microscope(4, 32))

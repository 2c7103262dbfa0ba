"""The UCI digits, 1,797 real images that come inside the package: no network, no cache."""

from importlib.resources import files

import numpy as np

from distgrad.data.datasets import ArrayDataset


def digits() -> tuple[ArrayDataset, ArrayDataset]:
    """Return (train, test): images float32 (n, 1, 8, 8) in 0..1, labels int64 (n,) in 0..9.

    Every fifth image (numbers 4, 9, 14, …) is a test image: 1,438 train and 359 test.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, CC BY 4.0;
    see files/digits.LICENSE.txt.
    """
    with (
        files("distgrad.data").joinpath("files/digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        images = archive["images"][:, None].astype(np.float32) / np.float32(16)  # n 1 8 8
        labels = archive["labels"].astype(np.int64)
    is_test = np.arange(len(labels)) % 5 == 4
    return ArrayDataset(images[~is_test], labels[~is_test]), ArrayDataset(
        images[is_test], labels[is_test]
    )

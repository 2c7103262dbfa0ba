"""The UCI digits, 1,797 real images that come inside the package: no network, no cache."""

import hashlib
import io
from importlib.resources import files

import numpy as np

from distgrad.data.datasets import ArrayDataset
from distgrad.errors import DataError

_FILE = files("distgrad.data").joinpath("files/digits.npz")
_CHECKSUM = "da9ddbe86b955035e2c5b7681111d28b535794da666ffa60f27c5de26c7973cb"


def digits() -> tuple[ArrayDataset, ArrayDataset]:
    """Return (train, test): images float32 (n, 1, 8, 8) in 0..1, labels int64 (n,) in 0..9.

    Every fifth image (numbers 4, 9, 14, …) is a test image: 1,438 train and 359 test.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, CC BY 4.0;
    see files/digits.LICENSE.txt. Raises DataError if the file was lost or damaged.
    """
    try:
        content = _FILE.read_bytes()
    except OSError as error:
        raise DataError(f"{_FILE} cannot be read: {error}; install distgrad again") from error
    if hashlib.sha256(content).hexdigest() != _CHECKSUM:
        raise DataError(f"{_FILE} is damaged: its SHA-256 is wrong; install distgrad again")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        images = archive["images"][:, None].astype(np.float32) / np.float32(16)  # n 1 8 8
        labels = archive["labels"].astype(np.int64)
    is_test = np.arange(len(labels)) % 5 == 4
    return ArrayDataset(images[~is_test], labels[~is_test]), ArrayDataset(
        images[is_test], labels[is_test]
    )

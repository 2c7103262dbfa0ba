"""Image transforms by torchvision's names, on arrays (c, h, w) or batches (n, c, h, w).

Every sample of a batch gets random numbers of its own, from ``dg.random``: used inside
``for x, y in batch.shards`` they are the same on any number of ranks and after a resume. (On a
batch torchvision draws once for all samples.) A Tensor comes back as one, outside the tape.
"""

from distgrad.arguments import check_constructors as _check_constructors
from distgrad.data.transforms.base import Compose, Lambda, RandomApply, Transform
from distgrad.data.transforms.geometry import (
    CenterCrop,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomVerticalFlip,
    Resize,
)
from distgrad.data.transforms.values import ColorJitter, Normalize, RandomErasing, ToTensor

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Lambda",
    "Normalize",
    "Pad",
    "RandomApply",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Resize",
    "ToTensor",
    "Transform",
]

_check_constructors(globals(), __all__, afterwards=True)

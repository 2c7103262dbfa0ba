"""Examples of distgrad.data.transforms: images (c, h, w), or batches of them."""

import numpy as np

from distgrad.data import transforms as T

image = np.arange(16, dtype="f4").reshape(1, 4, 4) / 16
colours = np.linspace(0, 1, 12, dtype="f4").reshape(3, 2, 2)

# Examples

T.CenterCrop(2)(image)

T.ColorJitter(brightness=0.5)(colours).shape

T.Compose([T.CenterCrop(2), T.Normalize([0.5], [0.25])])(image)

T.Lambda(lambda x: 1 - x)(image)[0, 0]

T.Normalize(mean=[0.5], std=[0.25])(image)[0, 0]

T.Pad(1)(image).shape

T.RandomApply([T.Lambda(lambda x: 1 - x)], p=1.0)(image)[0, 0]

T.RandomCrop(3)(image).shape

T.RandomErasing(p=1.0)(image)

T.RandomHorizontalFlip(p=1.0)(image)[0, 0]

T.RandomResizedCrop(2)(image).shape

T.RandomVerticalFlip(p=1.0)(image)[0, 0]

T.Resize(2)(image)

T.ToTensor()(np.full((2, 2, 1), 255, np.uint8))

# Transform: what all of them are
isinstance(T.Pad(1), T.Transform)

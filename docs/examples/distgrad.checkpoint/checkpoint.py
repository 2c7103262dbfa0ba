"""Examples of distgrad.checkpoint: what the Trainer's checkpoints are made with."""

import tempfile

import numpy as np

from distgrad import checkpoint

folder = tempfile.mkdtemp()
weights = {"0.weight": np.arange(3.0)}

# Examples

# prepare, exists
checkpoint.prepare(folder)
checkpoint.exists(folder)

# save, load, Checkpoint
path = checkpoint.save(folder, step=12, arrays={"model": weights}, meta={"epoch": 1})
found = checkpoint.load(path)
isinstance(found, checkpoint.Checkpoint), path.name, found.step, found.meta, found.arrays["model"]

# newest: the newest that is whole
for step in (1, 2):
    checkpoint.save(folder, step=step, arrays={"model": weights}, meta={})
checkpoint.newest(folder).step

# restore_into: in place, after all names and shapes agree
target = {"0.weight": np.zeros(3)}
checkpoint.restore_into(weights, target)
target

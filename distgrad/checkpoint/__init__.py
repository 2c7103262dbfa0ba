"""Checkpoints: arrays in safetensors files and a sealed JSON manifest, never a pickle.

Knows nothing of models, optimizers or ranks: sections of named arrays go in, the same come out.
"""

from distgrad.checkpoint.reader import Checkpoint, exists, load, newest
from distgrad.checkpoint.restore import restore_into
from distgrad.checkpoint.writer import prepare, save

__all__ = ["Checkpoint", "exists", "load", "newest", "prepare", "restore_into", "save"]

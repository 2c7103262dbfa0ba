"""Data sets, where the real ones come from, and global batches in an order of their own.

Only the loader knows of ranks: which shard of a batch is whose.
"""

from distgrad.data import transforms
from distgrad.data.datasets import ArrayDataset, Dataset, Subset, TextDataset, fetch
from distgrad.data.digits import digits
from distgrad.data.fashion_mnist import fashion_mnist
from distgrad.data.idx import read_idx
from distgrad.data.loader import Batch, DataLoader
from distgrad.data.sampler import permutation
from distgrad.data.text import character_tokens, python_docs, split_text, text_file

__all__ = [
    "ArrayDataset",
    "Batch",
    "DataLoader",
    "Dataset",
    "Subset",
    "TextDataset",
    "character_tokens",
    "digits",
    "fashion_mnist",
    "fetch",
    "permutation",
    "python_docs",
    "read_idx",
    "split_text",
    "text_file",
    "transforms",
]

"""Data sets, where the real ones come from, and global batches in an order of their own.

Only the loader knows of ranks: which shard of a batch is whose.
"""

from distgrad.arguments import check_constructors as _check_constructors
from distgrad.data import transforms
from distgrad.data.batch import Batch
from distgrad.data.collate import default_collate, default_convert
from distgrad.data.combine import ChainDataset, StackDataset, TensorDataset, random_split
from distgrad.data.dataset import ConcatDataset, Dataset, IterableDataset
from distgrad.data.datasets import ArrayDataset, Subset, TextDataset
from distgrad.data.digits import digits
from distgrad.data.distributed_sampler import DistributedSampler
from distgrad.data.fashion_mnist import fashion_mnist
from distgrad.data.idx import read_idx
from distgrad.data.loader import DataLoader
from distgrad.data.reading import fetch
from distgrad.data.recipe import get_worker_info
from distgrad.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    permutation,
)
from distgrad.data.text import character_tokens, python_docs, split_text, text_file
from distgrad.data.tokenizer import BytePairTokenizer

__all__ = [
    "ArrayDataset",
    "Batch",
    "BatchSampler",
    "BytePairTokenizer",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "TextDataset",
    "WeightedRandomSampler",
    "character_tokens",
    "default_collate",
    "default_convert",
    "digits",
    "fashion_mnist",
    "fetch",
    "get_worker_info",
    "permutation",
    "python_docs",
    "random_split",
    "read_idx",
    "split_text",
    "text_file",
    "transforms",
]

_check_constructors(globals(), __all__, afterwards=True)

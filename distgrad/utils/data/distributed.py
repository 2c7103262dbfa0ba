"""``torch.utils.data.distributed``, where scripts find the DistributedSampler."""

from distgrad.data import DistributedSampler

__all__ = ["DistributedSampler"]

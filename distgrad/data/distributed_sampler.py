"""DistributedSampler: each rank's own samples, for scripts that count batches per rank."""

from __future__ import annotations

from collections.abc import Sized

import numpy as np
from numpy.typing import NDArray

from distgrad.data.sampler import KeyedSampler, permutation
from distgrad.errors import DataError
from distgrad.parallel.world import current_world


class DistributedSampler(KeyedSampler):
    """Rank r's samples r, r + n, r + 2 n, … of an order that all n ranks share.

    All ranks get equally many: the first samples come twice where the length is no multiple of n,
    or with ``drop_last`` the last are left out. ``num_replicas`` and ``rank`` are the current
    world's by default. Call ``set_epoch`` before each epoch, or every one has the order of epoch 0.
    A DataLoader that is given this sampler counts ``batch_size`` per rank. Without one the loader
    cuts every batch itself, and needs neither padding nor ``set_epoch``.
    Errors: DataError for a rank that is not below ``num_replicas``.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        world = current_world() if num_replicas is None or rank is None else None
        self.num_replicas = world.size if num_replicas is None and world else num_replicas or 0
        self.rank = world.rank if rank is None and world else rank or 0
        if not 0 <= self.rank < self.num_replicas:
            raise DataError(
                f"DistributedSampler(num_replicas={self.num_replicas}, rank={self.rank}): the rank "
                f"is 0 or more and below the number of replicas"
            )
        self.dataset, self.shuffle, self.seed = dataset, shuffle, seed
        self.drop_last = drop_last
        if not len(self):
            raise DataError(
                f"{len(dataset)} samples give each of {self.num_replicas} ranks none"
                f"{' with drop_last=True' if drop_last else ''}"
            )

    @property
    def total_size(self) -> int:
        """The samples of all ranks together."""
        return len(self) * self.num_replicas

    def __len__(self) -> int:
        n = len(self.dataset)
        return n // self.num_replicas if self.drop_last else -(-n // self.num_replicas)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of ``epoch`` from now on."""
        self.epoch = epoch

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return this rank's numbers in the epoch that ``set_epoch`` has set.

        ``epoch``, the loader's own count, is not looked at: the user numbers the epochs here.
        """
        n = len(self.dataset)
        whole = np.arange(n)
        if self.shuffle:
            whole = permutation(n, seed=self.seed, epoch=self.epoch)
        # np.resize begins again at the first, as often as it takes, or cuts.
        return np.resize(whole, self.total_size)[self.rank :: self.num_replicas]

    def __iter__(self):  # type: ignore[no-untyped-def]  # KeyedSampler's, without counting
        return iter(self.order(self.epoch).tolist())

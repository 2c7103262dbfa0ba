"""``torch.utils.data.dataloader``: the loader with the order of PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from distgrad import data
from distgrad.data import default_collate, default_convert, get_worker_info
from distgrad.data.settings import NOT_GIVEN, NotGiven

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]


class DataLoader(data.DataLoader):
    """``dg.data.DataLoader`` with the order of PyTorch's arguments: ``DataLoader(dataset, 64)``.

    The second is ``batch_size`` (1 if it is left out), where that of ``dg.data.DataLoader`` is
    ``global_batch_size``; as a keyword this one takes ``global_batch_size`` as well.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | NotGiven | None = NOT_GIVEN,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], object] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        **more: Any,
    ) -> None:
        left_out = isinstance(batch_size, NotGiven) and more.get("global_batch_size") is None
        super().__init__(
            dataset,
            batch_size=1 if left_out and batch_sampler is None else batch_size,
            shuffle=shuffle,
            sampler=sampler,
            batch_sampler=batch_sampler,
            num_workers=num_workers,
            collate_fn=collate_fn,
            pin_memory=pin_memory,
            drop_last=drop_last,
            timeout=timeout,
            worker_init_fn=worker_init_fn,
            multiprocessing_context=multiprocessing_context,
            generator=generator,
            **more,
        )

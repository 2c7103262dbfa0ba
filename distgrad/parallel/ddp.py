"""DistributedDataParallel: attaches to a model in place; nothing is wrapped, no name changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from distgrad.autograd.tensor import Tensor
from distgrad.comm import ALL_REDUCE
from distgrad.errors import CommError, MismatchError, NonFiniteError
from distgrad.nn import Module
from distgrad.parallel.reducer import Reducer
from distgrad.parallel.shards import current_shard
from distgrad.parallel.synchronize import attach
from distgrad.parallel.world import World, current_world, gather_json

# benchmarks/buckets.py, 2 ranks: 16 and 64 MiB cost a 43 MiB GPT 8 to 10 % (less overlap) and gain
# an 11 MiB MLP 5 to 8 % (fewer messages); 1 MiB changes nothing.
BUCKET_MB = 4.0


class DistributedDataParallel:
    """Makes every rank's backward pass leave the same gradients: those of the global batch's mean.

    Rank 0's parameters and buffers are copied to all ranks; parameters and gradients become views
    of buckets of ``bucket_mb`` MiB, which are reduced by ``algorithm`` ("ring", "tree", "native")
    while backward runs. Default: the canonical tree if ``dg.init(shards=…)`` was given, the ring
    otherwise. Unused and shared parameters need no flag.
    Errors: MismatchError if the ranks' models differ.
    """

    def __init__(
        self,
        module: Module,
        *,
        world: World | None = None,
        bucket_mb: float = BUCKET_MB,
        algorithm: str | None = None,
    ) -> None:
        self.module = module
        self.world = world or current_world()
        self.algorithm = algorithm or self.world.algorithm
        if self.algorithm not in ALL_REDUCE:
            raise CommError(
                f"algorithm={algorithm!r} is unknown; choose one of {', '.join(sorted(ALL_REDUCE))}"
            )
        named = list(module.named_parameters())
        taken = next((n for n, p in named if p._listener is not None), None)
        if taken is not None:
            raise CommError(
                f"'{taken}' belongs to a DistributedDataParallel already; make one per model"
            )
        attach(module, self.world, self.algorithm)
        self._verify()
        self.reducer = Reducer(
            self.world,
            module,
            named,
            bucket_bytes=int(bucket_mb * 2**20),
            algorithm=self.algorithm,
        )
        self._broadcast()
        self.world.join(self.reducer)

    def backward(self, loss: Tensor) -> None:
        """Run ``loss.backward()`` for the mean loss of the current shard's samples.

        The gradient is weighted by the shard's share of the global batch; after this rank's last
        shard ``grad`` of every parameter is that of the whole batch's mean.
        Errors: NonFiniteError naming rank, step and shard for a loss that is NaN or infinite.
        """
        self.check_finite(loss)
        loss.backward()

    def check_finite(self, loss: Tensor) -> None:
        """Raise NonFiniteError, naming rank, step and shard, unless the loss is a finite number."""
        value = float(loss)
        if not math.isfinite(value):
            position = current_shard.get()
            where = "" if position is None else f" at step {position.step}, shard {position.shard}"
            raise NonFiniteError(
                f"[rank {self.world.rank}/{self.world.size}] the loss is {value}{where}; lower "
                f"the learning rate, clip gradients, or look into the samples of this shard. "
                f"dg.Trainer(nonfinite='skip') leaves such batches out"
            )

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Accumulate inside a shard: backward passes in here add up and nothing is sent.

        The first backward pass after it adds its own gradients and sends the sum.
        """
        self.reducer.synchronize = False
        try:
            yield
        finally:
            self.reducer.synchronize = True

    def _verify(self) -> None:
        tensors = [*self.module.named_parameters(), *self.module.named_buffers()]
        table = [[n, list(t.shape), str(t.dtype), t.requires_grad] for n, t in tensors]
        everyone = gather_json(self.world.comm, table)
        for other, theirs in enumerate(everyone):
            if theirs != everyone[0]:
                mine = _first_difference(everyone[0], theirs)
                raise MismatchError(
                    f"[rank {self.world.rank}/{self.world.size}] the models differ: rank 0 has "
                    f"{mine[0]}, rank {other} has {mine[1]}; build the same model on every rank"
                )

    def _broadcast(self) -> None:
        comm = self.world.comm
        for bucket in self.reducer.buckets:
            comm.broadcast(bucket.values, name=bucket.gradients.name)
        frozen = [(n, p) for n, p in self.module.named_parameters() if not p.requires_grad]
        for name, tensor in [*frozen, *self.module.named_buffers()]:
            comm.broadcast(tensor.data, name=name)


def _first_difference(a: list[list[object]], b: list[list[object]]) -> tuple[str, str]:
    for x, y in zip(a, b, strict=False):
        if x != y:
            return _describe(x), _describe(y)
    longer = a if len(a) > len(b) else b
    extra = _describe(longer[min(len(a), len(b))])
    return (extra, "no such parameter") if longer is a else ("no such parameter", extra)


def _describe(entry: list[object]) -> str:
    name, shape, dtype, requires_grad = entry
    return f"'{name}' {shape} {dtype}{'' if requires_grad else ' (no gradient)'}"

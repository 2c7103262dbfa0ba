"""DistributedDataParallel: attaches to a model in place; nothing is wrapped, no name changes."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeAlias

import numpy as np

from distgrad.arguments import kinds_of, refuse
from distgrad.autograd.apart import apart
from distgrad.autograd.tensor import Tensor
from distgrad.comm import AUTO, gather_json
from distgrad.errors import CommError, DistgradError, MismatchError, NonFiniteError
from distgrad.kinds import Times, number
from distgrad.nn import Module
from distgrad.parallel.agreement import EVERY, Agreement, compare
from distgrad.parallel.bucket import whole_gradients
from distgrad.parallel.hooks.register import CommHook, Hook
from distgrad.parallel.lent_sums import lend_sums
from distgrad.parallel.nonfinite import Nonfinite, where
from distgrad.parallel.observers import LocalGradients
from distgrad.parallel.reducer import Reducer, Reduction
from distgrad.parallel.shards import current_shard
from distgrad.parallel.world import World, current_world
from distgrad.parallel.zero import Shares, ZeroStage

# benchmarks/buckets.py, 2 ranks: 16 and 64 MiB cost a 43 MiB GPT 8 to 10 % (less overlap) and gain
# an 11 MiB MLP 5 to 8 % (fewer messages); 1 MiB changes nothing.
BUCKET_MB = 4.0
_MIB = number(0, 1 << 20)._replace(words="a number of MiB, 0 for a bucket for each parameter")
BucketMB: TypeAlias = Annotated[float, _MIB]  # up to a TiB


class DistributedDataParallel:
    """Makes every rank's backward pass leave the same gradients: those of the global batch's mean.

    Rank 0's parameters and buffers are copied to all ranks; parameters and gradients become views
    of buckets of up to ``bucket_mb`` MiB, those that are full last smaller, which are reduced by
    ``algorithm`` while backward runs: "ring", "tree", "shared", "hierarchical", "native" (MPI's
    own), or "auto" (the default), which goes by who shares a node: "shared" on one, "hierarchical"
    on several; where no two ranks share one, "tree" if ``dg.init(shards=…)`` was given, else
    "ring", whose bits depend on the number of ranks. Left out, ``bucket_mb`` is 4, or what
    ``distgrad bench --tune`` has found here, which may also let short sums without shards take the
    tree: docs/network.md.
    Unused and shared parameters need no flag. ``nonfinite`` says what happens to a batch
    with a NaN or infinite loss or gradient: "raise" NonFiniteError; "skip" leaves it out on all
    ranks (its gradients are dropped, so ``optimizer.step()`` does nothing); "continue" goes on.
    ``reduction`` says what a loss is over the samples of its shard, so that gradients are those of
    the same over the global batch: their "mean" (the default of the losses) or their "sum". Seeds,
    data, optimizer settings and weights of the ranks are compared at the beginning and every
    ``check_every`` batches (0: never).

    ``zero`` shares out what moves the parameters (docs/sharded-training.md), with the same bits:
    with 1 each rank has the optimizer's state of its slice of every bucket alone, with 2 also the
    gradients, with 3 also the parameters, outside their use.

    The model is trained in place; ``ddp(x)``, ``ddp.state_dict()`` and every other name are the
    model's own, without a prefix. PyTorch's settings are taken where they change nothing here:
    ``device_ids`` and ``output_device`` (there are CPUs only), ``find_unused_parameters`` and
    ``static_graph`` (the tape knows), ``gradient_as_bucket_view`` (always), ``broadcast_buffers``
    (running statistics are always those of all ranks); ``bucket_cap_mb`` is ``bucket_mb``.
    Errors: MismatchError if the ranks' models differ; CommError for an algorithm that does not
    exist or cannot run in this world, or a setting that cannot be followed.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        *,
        broadcast_buffers: bool = True,
        init_sync: bool = True,
        process_group: Any = None,
        bucket_cap_mb: BucketMB | None = None,
        find_unused_parameters: bool = False,
        gradient_as_bucket_view: bool = True,
        static_graph: bool = False,
        world: World | None = None,
        bucket_mb: BucketMB | None = None,
        algorithm: str | None = None,
        nonfinite: Nonfinite = "raise",
        reduction: Reduction = "mean",
        check_every: Times = EVERY,
        zero: ZeroStage = 0,
    ) -> None:
        del device_ids, output_device, broadcast_buffers, find_unused_parameters
        del gradient_as_bucket_view, static_graph  # none of them changes a result
        _check_foreign(module, init_sync, process_group)
        bucket_mb = bucket_mb if bucket_cap_mb is None else bucket_cap_mb
        if bucket_mb is None:
            tuned = (world or current_world()).comm.transport.state.tuning.bucket_mb
            bucket_mb = BUCKET_MB if tuned is None else tuned
        self.zero = zero
        self.module = module
        self.world = world or current_world()
        self.algorithm = algorithm or AUTO
        self.world.comm.check_algorithm(self.algorithm)
        named = list(module.named_parameters())
        if not named:
            raise DistgradError(
                f"{type(module).__name__} has no parameters, so there is nothing to train: layers "
                f"in a list or dict of Python's belong in an nn.ModuleList or nn.ModuleDict"
            )
        free = (type(None), LocalGradients)
        taken = next((n for n, p in named if not isinstance(p._listener, free)), None)
        if taken is not None:
            raise CommError(
                f"'{taken}' belongs to a DistributedDataParallel already; make one per model (to "
                f"train on in another way, a copy: copy.deepcopy(model))"
            )
        lend_sums(module, self.world, self.algorithm)
        self.agreement = Agreement(self.world, module, check_every)
        self._verify(bucket_mb, nonfinite, reduction, check_every, zero)
        self.reducer = Reducer(
            self.world,
            module,
            named,
            bucket_bytes=int(bucket_mb * 2**20),
            algorithm=self.algorithm,
            nonfinite=nonfinite,
            reduction=reduction,
            agreement=self.agreement,
            zero=zero,
        )
        self._broadcast()
        # The parameters lie in buckets now: the arrays they came in would stay as holes.
        self.reducer.give_back_freed()

    # -- the model's own -----------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model."""
        return self.module(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """What is asked of it that it has not is the model's: parameters, state_dict, layers, …"""
        module = vars(self).get("module")
        if module is None:  # while it is made, or copied
            raise AttributeError(name)
        return getattr(module, name)

    def train(self, mode: bool = True) -> DistributedDataParallel:
        """Set training mode for the model."""
        self.module.train(mode)
        return self

    def eval(self) -> DistributedDataParallel:
        """Set evaluation mode for the model."""
        return self.train(False)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """``module.load_state_dict``; the prefix ``module.`` of PyTorch's wrapper is left out."""
        own, start = self.module.state_dict(), "module."
        prefixed = bool(state_dict) and all(key.startswith(start) for key in state_dict)
        if prefixed and not all(key in own for key in state_dict):
            state_dict = {key.removeprefix(start): value for key, value in state_dict.items()}
        return self.module.load_state_dict(state_dict, strict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Module:
        """A copy is of the model alone: buckets and ranks are no copy's."""
        return copy.deepcopy(self.module, memo)

    def __repr__(self) -> str:
        inner = repr(self.module).replace("\n", "\n  ")
        return f"DistributedDataParallel(\n  (module): {inner}\n)"

    # -- gradients ----------------------------------------------------------------------------

    def backward(self, loss: Tensor, *, reduction: Reduction | None = None) -> None:
        """Run ``loss.backward()`` for the mean (or sum) loss of the current shard's samples.

        A mean's gradient is weighted by the shard's share of the global batch, a sum's is not;
        after this rank's last shard ``grad`` of every parameter is that of the mean (or sum) over
        the whole batch. ``reduction`` overrides that of the constructor for this pass. An empty
        shard's loss counts for nothing.
        Errors: NonFiniteError naming rank, step and shard for a loss that is NaN or infinite,
        unless ``nonfinite`` says otherwise. (Plain ``loss.backward()`` does not look at the loss.)
        """
        self._look_at(loss)
        usual = self.reducer.reduction
        if reduction is None:
            loss.backward()
            return
        refuse("backward", kinds_of(type(self).__init__), [("reduction", reduction)])
        self._reduce_by(reduction)
        try:
            loss.backward()
        finally:
            self._reduce_by(usual)

    @apart
    def _look_at(self, loss: Tensor) -> None:
        policy = self.reducer.nonfinite
        if not isinstance(loss, Tensor) or loss.array.size != 1:
            got = f"shape {np.shape(loss)}" if hasattr(loss, "shape") else repr(loss)
            raise TypeError(f"backward takes the loss, a Tensor of one number; got {got}")
        if policy == "continue" or math.isfinite(float(loss)) or self.world.position.empty:
            return
        if policy == "raise":
            self.check_finite(loss)
        self.reducer.pass_nonfinite = True

    @apart
    def _reduce_by(self, reduction: Reduction) -> None:
        self.reducer.reduction = reduction

    @apart
    def _synchronize(self, synchronize: bool) -> None:
        self.reducer.synchronize = synchronize

    @property
    def nonfinite(self) -> Nonfinite:
        """What happens to a batch whose loss or gradient is not finite."""
        return self.reducer.nonfinite

    @property
    def left_out(self) -> bool:
        """Whether the last batch was left out (``nonfinite="skip"``); the same on all ranks."""
        return self.reducer.left_out

    @apart
    def check_finite(self, loss: Tensor) -> None:
        """Raise NonFiniteError, naming rank, step and shard, unless the loss is a finite number."""
        value = float(loss)
        if not math.isfinite(value):
            position = current_shard()
            shard = "" if position is None else f"{where()}, shard {position.shard}"
            raise NonFiniteError(
                f"[rank {self.world.rank}/{self.world.size}] the loss is {value}{shard}; lower "
                f"the learning rate, clip gradients, or look into the samples of this shard. "
                f"nonfinite='skip' leaves such batches out"
            )

    def register_comm_hook(self, state: Any, hook: Hook) -> None:
        """Let ``hook(state, bucket)`` sum each bucket's gradients over the ranks; collective.

        It is called when a bucket (hooks.GradBucket) is complete, in the buckets' order. Its
        ``buffer()`` is this rank's part of the gradient, weighted already: the hook's result is the
        **sum** over the ranks, on every rank the same bits; PyTorch's division by their number is
        in the weights. A hook that is a generator runs its rounds while backward goes on; others
        return an array, or something with ``wait()`` and, if it can be, ``poll()``. Who used which
        parameter, and whether a loss was finite, is exact whatever the hook does. With ``shards``
        the bits are those of this number of ranks. Once per model, before the first backward.
        ``dg.parallel.hooks`` has PyTorch's and others. Errors: CommError for a second hook;
        MismatchError if the ranks' hooks differ.
        """
        if self.reducer.hook is not None:
            raise CommError(
                f"the hook {self.reducer.hook.name} is registered already; a model has one"
            )
        if self.zero:
            raise CommError(
                f"register_comm_hook with zero={self.zero}: hooks sum whole buckets, and are "
                f"supported with zero=0 alone"
            )
        self.reducer.hook = CommHook(
            self.world, state, hook, self.reducer.buckets, self.nonfinite == "skip"
        )

    @contextmanager
    def summon_full_gradients(self) -> Iterator[None]:
        """Have whole gradients on all ranks inside ``with``, where zero=1 or more has parts.

        What is changed inside, alike on every rank, stays changed. Collective. With zero=0, and
        inside no_sync, gradients are whole anyway.
        """
        with whole_gradients(self.reducer.buckets):
            yield

    @contextmanager
    def summon_full_parameters(self) -> Iterator[None]:
        """Have all parameters on all ranks inside ``with``; collective with zero=3.

        With zero=1 and 2 it waits for what is on its way, as every reader of a parameter does.
        """
        with contextlib.nullcontext() if self.shares is None else self.shares.values_here():
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let parameters be written to inside ``with``, by the same statements on every rank.

        Where they are shared out (zero=1 or more) they are read-only outside: the ranks of a node
        have them once, and of what a rank writes the others would not know. Collective then.
        """
        with contextlib.nullcontext() if self.shares is None else self.shares.writing():
            yield

    @property
    def shares(self) -> Shares | None:
        """How the parameters are shared out over the ranks (zero=1 and more)."""
        return self.reducer.shares

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Accumulate: gradients of backward passes in here stay with their shard, none is sent.

        The first backward pass after it adds its own gradients and sends the sum: of several
        passes in a shard, or of several batches. Each shard's gradients add up in the order of the
        batches, and shards are summed as ever, so that the bits do not depend on the number of
        ranks. Over batches each shard of this rank needs memory for its gradients. As in PyTorch,
        the losses of the batches add up: divide them by their number for a mean. ``zero_grad()``
        drops what was gathered.
        """
        self._synchronize(False)
        try:
            yield
        finally:
            self._synchronize(True)

    @contextmanager
    def join(
        self,
        divide_by_initial_world_size: bool = True,
        enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Iterator[None]:
        """PyTorch's context for ranks with unequal numbers of batches; here they are equal.

        A DataLoader gives every rank as many, empty ones if need be, each weighted by its samples.
        Errors: MismatchError, at once, if a loop of your own ends earlier on one rank.
        """
        del divide_by_initial_world_size, throw_on_early_termination
        yield
        if enable:
            name = "the end of ddp.join(), where a dg DataLoader would give as many batches"
            self.world.comm.all_reduce(np.zeros(1), name=name)

    def _verify(self, *settings: object) -> None:
        names = ("bucket_mb", "nonfinite", "reduction", "check_every", "zero")
        found = {f"DistributedDataParallel({n}=)": v for n, v in zip(names, settings, strict=True)}
        compare(self.world, {"DistributedDataParallel(algorithm=)": self.algorithm, **found})
        tensors = [*self.module.named_parameters(), *self.module.named_buffers()]
        table = [[n, list(t.shape), str(t.dtype), t.requires_grad] for n, t in tensors]
        everyone = gather_json(self.world.comm, table, "the models of the ranks")
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
            values = bucket.values if self.shares is None else bucket.values.copy()
            comm.broadcast(values, name=bucket.gradients.name)
            if bucket.share is not None:
                bucket.share.fill(values)
        if self.shares is not None:
            comm.barrier()
        frozen = [(n, p) for n, p in self.module.named_parameters() if not p.requires_grad]
        for name, tensor in [*frozen, *self.module.named_buffers()]:
            comm.broadcast(tensor.array, name=name)


def _check_foreign(module: object, init_sync: bool, process_group: Any) -> None:
    if isinstance(module, DistributedDataParallel):
        raise CommError("the model is a DistributedDataParallel already; make one per model")
    if not isinstance(module, Module):
        raise DistgradError(
            f"DistributedDataParallel(model) takes an nn.Module, got a {type(module).__name__}; "
            f"ranks that train no module use dg.distributed"
        )
    if not init_sync:
        raise CommError(
            "init_sync=False: the ranks' models would differ; rank 0's weights are always copied"
        )
    if process_group is not None:
        raise CommError(
            "process_group=: gradients are summed over all ranks of the world; leave it out"
        )


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

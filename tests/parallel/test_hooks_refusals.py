"""What a hook's user gets wrong is said where it was written, not ranks and batches later."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hooked import Parameters, sums
from training import alone, simulated

import distgrad as dg
import distgrad.distributed as dist
from distgrad import nn, optim
from distgrad.errors import CheckpointError, CommError, DistgradError, MismatchError, ShapeError
from distgrad.optim.lr_scheduler import StepLR
from distgrad.parallel import hooks
from distgrad.parallel.local_sgd import DiLoCo, PeriodicModelAverager, PostLocalSGDOptimizer

SHAPES = [(7, 5), (5,)]


@pytest.mark.parametrize(
    ("hook", "wrong"),
    [
        (hooks.powerSGD_hook, None),
        (hooks.batched_powerSGD_hook, hooks.Int8State()),
        (hooks.fp16_compress_wrapper(hooks.powerSGD_hook), None),
        (hooks.int8_compress_hook, None),
        (hooks.topk_hook, hooks.PowerSGDState(None)),
        (hooks.post_localSGD_hook, None),
    ],
)
def test_a_hook_is_registered_with_its_own_state_or_not_at_all(hook, wrong):
    kind = hook.state_type.__name__
    got = "None" if wrong is None else type(wrong).__name__

    def body():
        ddp = dg.DistributedDataParallel(Parameters(SHAPES))
        with pytest.raises(CommError, match=rf"memory in a {kind}, got {got}.*hooks\.{kind}\("):
            ddp.register_comm_hook(wrong, hook)
        assert ddp.reducer.hook is None

    alone(body)


def test_a_state_is_one_models():
    def body():
        state = hooks.Int8State()
        first, second = (dg.DistributedDataParallel(Parameters(SHAPES)) for _ in range(2))
        first.register_comm_hook(state, hooks.int8_compress_hook)
        with pytest.raises(CommError, match="Int8State belongs to another model's hook"):
            second.register_comm_hook(state, hooks.int8_compress_hook)
        del first
        second.register_comm_hook(state, hooks.int8_compress_hook)

    alone(body)


@pytest.mark.parametrize("verb", ["all_reduce", "all_gather"])
def test_steps_that_a_hook_makes_and_does_not_run_are_named(verb):
    def forgetful(state, bucket):
        getattr(bucket, verb)(bucket.buffer())
        return bucket.buffer()

    with pytest.raises(CommError, match=rf"forgetful calls bucket\.{verb}.*yield from bucket"):
        sums(2, SHAPES, forgetful)


def test_a_hook_that_yields_an_array_is_told_how_to_communicate():
    def hook(state, bucket):
        yield bucket.buffer()

    with pytest.raises(CommError, match=r"the hook hook yields a ndarray.*yield from bucket"):
        sums(1, SHAPES, hook)


def test_a_hook_may_return_a_tensor_and_a_work_of_dg_distributed():
    def tensor(state, bucket):
        return dg.Tensor(2 * bucket.buffer())

    def future(state, bucket):
        array = bucket.buffer()
        return hooks.Future(dist.all_reduce(array, async_op=True), array)

    ones = {"gradients": lambda rank, shape, step: np.ones(shape, np.float32)}
    assert np.all(sums(1, SHAPES, tensor, **ones)[0].found[0][0] == 2)
    for result in sums(3, SHAPES, future, **ones):
        assert np.all(result.found[0][0] == 3)


def test_ranks_with_other_hooks_are_told_to_register_the_same():
    def body():
        ddp = dg.DistributedDataParallel(Parameters(SHAPES))
        ddp.register_comm_hook(hooks.TopKState(0.1 + dg.init().rank / 10), hooks.topk_hook)

    with pytest.raises(MismatchError, match="register the same hook with the same settings"):
        simulated(2, body)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hooks.Int8State(block="8"), "Int8State: block is .* 8 or more; got '8'"),
        (lambda: hooks.TopKState(ratio="1"), r"TopKState: ratio is a number in \(0, 1\]; got '1'"),
        (lambda: hooks.PowerSGDState(None, 1.5), "approximation_rank is a whole .*; got 1.5"),
        (lambda: hooks.PowerSGDState(None, 1, -1), "start_powerSGD_iter is a whole .*; got -1"),
        (lambda: hooks.PostLocalSGDState(start_localSGD_iter=-1), "localSGD_iter is .*; got -1"),
        (lambda: PeriodicModelAverager("4"), "period is a whole number above 0; got '4'"),
        (lambda: PeriodicModelAverager(2.5), "period is a whole number above 0; got 2.5"),
        (lambda: PeriodicModelAverager(2, -1), "warmup_steps is a whole number, 0 or more; got -1"),
    ],
)
def test_settings_that_are_no_numbers_of_that_kind_are_refused(make, message):
    with pytest.raises((TypeError, ShapeError), match=message):
        make()


@pytest.mark.parametrize("settings", [{"outer_lr": "1"}, {"every": 2.5}, {"outer_momentum": 1}])
def test_diloco_refuses_settings_that_are_out_of_range(settings):
    def body():
        ddp = dg.DistributedDataParallel(Parameters(SHAPES))
        [(name, value)] = settings.items()
        with pytest.raises((TypeError, ShapeError), match=f"DiLoCo: {name} is .*; got {value!r}"):
            DiLoCo(ddp, optim.SGD(ddp.parameters(), lr=0.1), **settings)

    alone(body)


def test_diloco_of_a_model_asks_for_its_distributed_data_parallel():
    model = Parameters(SHAPES)
    with pytest.raises(DistgradError, match=r"got a Parameters: DiLoCo\(dg\.Distributed"):
        DiLoCo(model, optim.SGD(model.parameters(), lr=0.1))


def test_a_state_that_is_none_is_refused_by_what_it_lacks():
    with pytest.raises(CheckpointError, match="no state of a TopKState: it has no 'rank', 'size'"):
        alone(lambda: hooks.TopKState().load_state_dict({"iter": 1, "errors": {}, "common": {}}))

    def diloco(shapes=SHAPES):
        ddp = dg.DistributedDataParallel(Parameters(shapes))
        return DiLoCo(ddp, optim.SGD(ddp.parameters(), lr=0.1))

    with pytest.raises(CheckpointError, match=r"no state of a DiLoCo: it has no .*'own'"):
        alone(lambda: diloco().load_state_dict(diloco().optimizer.state_dict()))
    with pytest.raises(CheckpointError, match=r"another model: it has arrays of \[\(1, 5\)"):
        alone(lambda: diloco().load_state_dict(diloco([(1, 5), (5,)]).state_dict()))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (lambda m: m, "a Linear among them"),
        (lambda m: m[0].weight, "a Parameter$"),
        (lambda m: m.named_parameters(), "a tuple among them"),
        (lambda m: optim.SGD(m.parameters(), lr=0.1), "a SGD$"),
        (lambda m: [None], "a NoneType among them"),
    ],
)
def test_what_is_no_parameters_is_not_averaged_in_silence(given, named):
    model = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(TypeError, match=rf"model\.parameters\(\).*got {named}"):
        alone(lambda: PeriodicModelAverager(1).average_parameters(given(model)))


def test_a_schedule_takes_an_optimizer_that_wraps_another():
    ddp = alone(lambda: dg.DistributedDataParallel(Parameters(SHAPES)))
    inner = optim.SGD(ddp.parameters(), lr=1.0)
    schedule = StepLR(PostLocalSGDOptimizer(inner, PeriodicModelAverager(2)), 1, gamma=0.5)
    schedule.step()
    assert inner.param_groups[0]["lr"] == 0.5
    with pytest.raises(TypeError, match="StepLR needs an optimizer; got a Parameters"):
        StepLR(ddp.module, 1)


# -- PyTorch's places -----------------------------------------------------------------------------

ALGORITHMS = "distgrad.distributed.algorithms"
PLACES = {
    f"{ALGORITHMS}.ddp_comm_hooks.default_hooks": hooks,
    f"{ALGORITHMS}.ddp_comm_hooks.powerSGD_hook": hooks,
    f"{ALGORITHMS}.ddp_comm_hooks.post_localSGD_hook": hooks,
    f"{ALGORITHMS}.ddp_comm_hooks.debugging_hooks": hooks,
    f"{ALGORITHMS}.model_averaging.averagers": dg.parallel,
    "distgrad.distributed.optim": dg.parallel,
    "distgrad.nn.parallel": dg.nn.parallel,
}


@pytest.mark.parametrize("place", PLACES)
def test_what_pytorch_has_elsewhere_is_there_too(place):
    module = importlib.import_module(place)
    for name in module.__all__:
        assert getattr(module, name) is getattr(PLACES[place], name)


def test_pytorchs_lines_register_hooks():
    lines = """
from distgrad.distributed.algorithms.ddp_comm_hooks import default_hooks
from distgrad.distributed.algorithms.ddp_comm_hooks import powerSGD_hook as powerSGD
from distgrad.nn.parallel import DistributedDataParallel as DDP

DDP(model()).register_comm_hook(state=None, hook=default_hooks.fp16_compress_hook)
state = powerSGD.PowerSGDState(
    process_group=None, matrix_approximation_rank=1, start_powerSGD_iter=1000
)
DDP(model()).register_comm_hook(state, powerSGD.powerSGD_hook)
"""
    alone(lambda: exec(lines, {"model": lambda: Parameters(SHAPES)}))


def test_sharded_optimizers_of_pytorch_are_zero_here():
    with pytest.raises(ImportError, match=r"DistributedDataParallel\(model, zero=1\)"):
        exec("from distgrad.distributed.optim import ZeroRedundancyOptimizer")
    with pytest.raises(AttributeError, match=r"DistributedDataParallel\(model, zero=3\)"):
        dist.fsdp  # noqa: B018
    with pytest.raises(AttributeError, match=r"dg\.parallel has it"):
        dg.DiLoCo  # noqa: B018

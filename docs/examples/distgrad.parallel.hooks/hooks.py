"""Examples of distgrad.parallel.hooks: gradients that are compressed on their way."""

import numpy as np

import distgrad as dg
from distgrad import nn
from distgrad.comm import run_ranks
from distgrad.parallel import hooks


def gradient(make):
    """The gradient of one weight, of which rank r's is r + 0.1, on each of three ranks."""

    def body():
        dg.manual_seed(0)
        model = nn.Linear(8, 8, bias=False)
        ddp = dg.DistributedDataParallel(model)
        ddp.register_comm_hook(*make())
        x = np.full((4, 8), ddp.world.rank + 0.1, "f4")
        ddp.backward(model(x).sum())
        return round(model.weight.grad[0, 0].item(), 4)

    return run_ranks(3, body)


# Examples

# allreduce_hook: as without a hook
gradient(lambda: (None, hooks.allreduce_hook))

# fp16_compress_hook, fp16_compress_wrapper
(
    gradient(lambda: (None, hooks.fp16_compress_hook)),
    gradient(lambda: (None, hooks.fp16_compress_wrapper(hooks.allreduce_hook))),
)

# bf16_compress_hook, bf16_compress_wrapper
(
    gradient(lambda: (None, hooks.bf16_compress_hook)),
    gradient(lambda: (None, hooks.bf16_compress_wrapper(hooks.allreduce_hook))),
)

# int8_compress_hook, Int8State
gradient(lambda: (hooks.Int8State(block=64), hooks.int8_compress_hook))

# topk_hook, TopKState: what is not sent now is sent later
gradient(lambda: (hooks.TopKState(ratio=0.5), hooks.topk_hook))


# powerSGD_hook, batched_powerSGD_hook, PowerSGDState
def state():
    return hooks.PowerSGDState(None, matrix_approximation_rank=1, start_powerSGD_iter=2)


(
    gradient(lambda: (state(), hooks.powerSGD_hook)),
    gradient(lambda: (state(), hooks.batched_powerSGD_hook)),
)

# noop_hook: nothing is sent
gradient(lambda: (None, hooks.noop_hook))

# post_localSGD_hook, PostLocalSGDState: from batch 5 on every rank keeps its own
gradient(lambda: (hooks.PostLocalSGDState(start_localSGD_iter=5), hooks.post_localSGD_hook))


# Hook, HookState, GradBucket: a hook of one's own, which sends half of each number
def half_hook(state, bucket):
    assert isinstance(bucket, hooks.GradBucket)
    g = bucket.buffer()
    g *= 0.5
    everyone = yield from bucket.all_gather(g.copy())
    g[...] = sum(everyone)


print(hooks.Hook)
gradient(lambda: (hooks.HookState(), half_hook))


# Future: a value that will be there
def future():
    comm = dg.current_world().comm
    a = np.ones(1)
    later = hooks.Future(comm.start_all_reduce(a), a).then(lambda f: 10 * f.value()[0])
    return later.wait()


run_ranks(3, future)

"""Communication hooks: how the gradients of a bucket are summed over the ranks.

``ddp.register_comm_hook(state, hook)`` takes one of these or your own; docs/compression.md says
what each sends and changes.
"""

from distgrad.arguments import check_constructors as _check_constructors
from distgrad.parallel.future import Future
from distgrad.parallel.hooks.bucket import GradBucket
from distgrad.parallel.hooks.half import (
    bf16_compress_hook,
    bf16_compress_wrapper,
    fp16_compress_hook,
    fp16_compress_wrapper,
)
from distgrad.parallel.hooks.int8 import Int8State, int8_compress_hook
from distgrad.parallel.hooks.plain import (
    PostLocalSGDState,
    allreduce_hook,
    noop_hook,
    post_localSGD_hook,
)
from distgrad.parallel.hooks.powersgd import PowerSGDState, batched_powerSGD_hook, powerSGD_hook
from distgrad.parallel.hooks.register import Hook
from distgrad.parallel.hooks.state import HookState
from distgrad.parallel.hooks.topk import TopKState, topk_hook

__all__ = [
    "Future",
    "GradBucket",
    "Hook",
    "HookState",
    "Int8State",
    "PostLocalSGDState",
    "PowerSGDState",
    "TopKState",
    "allreduce_hook",
    "batched_powerSGD_hook",
    "bf16_compress_hook",
    "bf16_compress_wrapper",
    "fp16_compress_hook",
    "fp16_compress_wrapper",
    "int8_compress_hook",
    "noop_hook",
    "post_localSGD_hook",
    "powerSGD_hook",
    "topk_hook",
]

_check_constructors(globals(), __all__)

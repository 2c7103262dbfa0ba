"""PyTorch's own sample inputs for its modules, handed to its modules and to ours.

``python tests/support/module_db.py [NAME …]`` prints how many are right, and what is wrong.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
from oracle import torch
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

from distgrad import Tensor, nn
from distgrad.autograd import grad
from distgrad.nn import functional as F

# Whose gradients PyTorch gives in another form, and what makes the two comparable.
CONVENTIONS = {
    "CTCLoss": "PyTorch adds a constant to each frame's gradient, which log_softmax takes away: "
    "its own backward pass sums to zero in each frame, ours is the derivative",
}
RTOL = {torch.float32: 1e-4, torch.float64: 1e-9}
DB = {info.name.removeprefix("nn."): info for info in module_db}


class DifferentError(AssertionError):
    """ours says something else than PyTorch."""


def ours_of(value: Any, known: dict[int, Any] | None = None) -> Any:
    """Return an argument of PyTorch's as ours; one tensor that stands twice stays one."""
    known = {} if known is None else known
    if id(value) not in known:
        known[id(value)] = _ours_of(value, known)
    return known[id(value)]


def _ours_of(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        parts = [None if v is None else ours_of(v) for v in value]
        return nn.utils.rnn.PackedSequence(*parts)
    if isinstance(value, torch.Tensor):
        array = value.detach().numpy().copy()
        return Tensor(array, requires_grad=value.requires_grad)
    if isinstance(value, torch.dtype):
        return np.dtype(str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, torch.nn.Module):
        return _module_of(value)
    if isinstance(value, torch.nn.LinearCrossEntropyOptions):
        fields = dataclasses.asdict(value)
        return nn.LinearCrossEntropyOptions(**fields)
    if isinstance(value, list | tuple) and type(value) in {list, tuple}:
        return type(value)(ours_of(v, known) for v in value)
    if isinstance(value, dict):
        return {k: ours_of(v, known) for k, v in value.items()}
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        return getattr(F, value.__name__)
    return value


def _module_of(value: Any) -> Any:
    layer = value
    kind = getattr(nn, type(layer).__name__)
    if isinstance(layer, torch.nn.TransformerEncoderLayer | torch.nn.TransformerDecoderLayer):
        attention = layer.self_attn
        made = kind(
            attention.embed_dim,
            attention.num_heads,
            layer.linear1.out_features,
            layer.dropout.p,
            ours_of(layer.activation),
            layer.norm1.eps,
            attention.batch_first,
            layer.norm_first,
            layer.linear1.bias is not None,
        )
    elif isinstance(layer, torch.nn.LayerNorm):
        made = kind(layer.normalized_shape, layer.eps)
    else:
        made = kind()
    made.load_state_dict(layer.state_dict())
    return made


def repr_of(theirs: Any) -> str:
    """PyTorch's text; the projection of its attention is a Linear with another name."""
    return repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")


def samples(info: Any, dtype: Any, training: bool) -> Iterator[Any]:
    """Yield PyTorch's inputs for one of its modules."""
    torch.manual_seed(0)
    found = info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=True, training=training
    )
    # Of many hundreds, which are products of a few settings, some.
    yield from found if len(found) < 100 else found[::11]


def errors(info: Any, dtype: Any, training: bool) -> Iterator[Any]:
    """Yield inputs that PyTorch refuses."""
    if info.module_error_inputs_func is not None:
        torch.manual_seed(0)
        yield from info.module_error_inputs_func(
            info, device="cpu", dtype=dtype, requires_grad=True, training=training
        )


def flat(value: Any) -> list[Any]:
    """Return the tensors of a result, one after the other."""
    if isinstance(value, tuple | list):
        return [t for part in value for t in flat(part)]
    return [value] if isinstance(value, torch.Tensor | Tensor) else []


def check(name: str, sample: Any, dtype: Any, training: bool) -> None:
    """Compare repr, state, outputs and gradients for one sample. Errors: DifferentError."""
    info, made, given = DB[name], sample.constructor_input, sample.forward_input
    kind = getattr(nn, name)
    theirs = info.module_cls(*made.args, **made.kwargs)
    ours = kind(*ours_of(made.args), **ours_of(made.kwargs))
    _equal("repr", repr(ours), repr_of(theirs))
    if info.is_lazy:
        with torch.no_grad():
            theirs.to(dtype)(*copy.deepcopy(given.args), **copy.deepcopy(given.kwargs))
    theirs.to(dtype).train(training)
    ours.to(ours_of(dtype)).train(training)
    state = theirs.state_dict()
    if not info.is_lazy:
        _equal("names of the state", list(ours.state_dict()), list(state))
    ours.load_state_dict(state)
    if info.is_lazy:
        _equal("repr", repr(ours), repr_of(theirs))
    if given is None:
        return
    args, kwargs = ours_of([given.args, given.kwargs])
    expected = theirs(*given.args, **given.kwargs)
    found = ours(*args, **kwargs)
    _results(found, expected, RTOL[dtype])
    _gradients(
        flat(found),
        flat(expected),
        [*_leaves((args, kwargs)), *ours.parameters()],
        [*_leaves((given.args, given.kwargs)), *theirs.parameters()],
        RTOL[dtype],
        name == "CTCLoss",
    )


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [t for part in value for t in _leaves(part)]
    return [t for t in flat(value) if t.requires_grad]


def _results(found: Any, expected: Any, rtol: float) -> None:
    _equal("results", len(flat(found)), len(flat(expected)))
    for i, (a, b) in enumerate(zip(flat(found), flat(expected), strict=True)):
        _equal(f"dtype of result {i}", str(a.dtype), str(b.dtype).removeprefix("torch."))
        close(f"result {i}", a.array, b.detach().numpy(), rtol)


def _through_log_softmax(log_probs: Any, g: Any) -> Any:
    return g - np.exp(log_probs) * g.sum(-1, keepdims=True)


def _gradients(
    found: Any, expected: Any, ours: Any, theirs: Any, rtol: float, of_logits: bool
) -> None:
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if b.requires_grad]
    _equal("leaves", [tuple(t.shape) for t in ours], [tuple(t.shape) for t in theirs])
    if not pairs or not ours:
        return
    rng = np.random.default_rng(len(ours))
    given = [np.asarray(rng.normal(size=a.shape), a.dtype) for a, _ in pairs]
    whole = sum(np.sum(a * g) for (a, _), g in zip(pairs, given, strict=True))
    found = grad(whole, ours, allow_unused=True)
    expected = torch.autograd.grad(
        [b for _, b in pairs],
        theirs,
        [torch.from_numpy(g) for g in given],
        allow_unused=True,
    )
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if of_logits:
            mine, other = (_through_log_softmax(ours[i].array, g) for g in (a.array, b.numpy()))
            close(f"gradient {i}", mine, other, rtol)
        elif a is None or b is None:
            zero = [x for x in (a, b) if x is not None]
            assert all(not np.any(np.asarray(x)) for x in zero), f"gradient {i}: {a} and {b}"
        else:
            close(f"gradient {i} of {len(found)}", a.array, b.to_dense().numpy(), rtol)


def close(what: str, found: Any, expected: Any, rtol: float) -> None:
    """Compare two arrays. Errors: DifferentError."""
    _equal(f"shape of {what}", found.shape, tuple(expected.shape))
    scale = max(1.0, float(np.max(np.abs(expected), initial=0, where=np.isfinite(expected))))
    if not np.allclose(found, expected, rtol=0, atol=rtol * scale, equal_nan=True):
        raise DifferentError(f"{what}: largest difference {np.max(np.abs(found - expected))}")


def _equal(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise DifferentError(f"{what}: {found!r}, PyTorch's {expected!r}")


def settings_of(sample: Any) -> str:
    """Return a sample's constructor in words."""
    made = sample.constructor_input
    return f"{made.args} {made.kwargs} {sample.desc}"[:200]


def raised(name: str, error: Any) -> tuple[Exception | None, Exception | None]:
    """Return what ours and PyTorch's raise for an input that is wrong."""

    def run(make: Any, convert: Any) -> Exception | None:
        sample = error.module_error_input
        made, given = sample.constructor_input, sample.forward_input
        try:
            module = make(*convert(made.args), **convert(made.kwargs))
            if error.error_on == ModuleErrorEnum.FORWARD_ERROR:
                module(*convert(given.args), **convert(given.kwargs))
        except Exception as e:
            return e
        return None

    return run(getattr(nn, name), ours_of), run(DB[name].module_cls, lambda x: x)


def main(names: list[str]) -> None:
    """Print what differs, and the count."""
    right = 0
    for name in names or DB:
        wrong = None
        for dtype in (torch.float64, torch.float32):
            for training in (True, False):
                try:
                    for sample in samples(DB[name], dtype, training):
                        check(name, sample, dtype, training)
                    for sample in errors(DB[name], dtype, training):
                        mine, theirs = raised(name, sample)
                        if mine is None or not isinstance(mine, ValueError | TypeError):
                            wrong = f"{theirs!r} is {mine!r} here"
                except Exception as e:
                    wrong = f"{dtype} training={training} {settings_of(sample)}: {e!r}"
        right += wrong is None
        if wrong:
            print(f"{name}: {wrong}")
    print(f"{right} of {len(names or DB)}")


if __name__ == "__main__":
    main(sys.argv[1:])

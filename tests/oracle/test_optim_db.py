"""PyTorch's own optimizer inputs: each setting gives its parameters, each wrong one an error.

``optim_db`` lists every optimizer with the settings and the wrong settings that PyTorch tests it
with. They are made for its parameters, so tensors among them are turned into ours.
"""

import inspect
import warnings

import numpy as np
import pytest
from oracle import torch

from distgrad import GradError, Tensor, nn, optim

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    common = pytest.importorskip("torch.testing._internal.common_optimizers")

INFOS = {info.name: info for info in common.optim_db}
SHAPES = [(3, 4), (5, 5), (7, 2)]

# Wrong settings that mean nothing here, and why.
LEFT_OUT = {
    ("SparseAdam", "dense params required"): "there are no sparse tensors here",
    ("SparseAdam", "dense params required in param_groups"): "there are no sparse tensors here",
}
# A line search compares losses, of which a gradient below √ε of them cannot be seen: at the bottom
# of a quadratic rounding decides. On the way there test_optim_lbfgs.py asks for 1e-9.
AT_THE_BOTTOM = 1e-6
HOW = ("foreach", "fused", "capturable", "differentiable")


@pytest.fixture(autouse=True)
def exact_pytorch(monkeypatch):
    """PyTorch's scalar state in float64 (by default it is float32), and Muon not in bfloat16."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    yield
    torch.set_default_dtype(before)


def settings_of():
    return [
        pytest.param(name, number, id=f"{name}-{given.desc or number}".replace(" ", "_"))
        for name, info in INFOS.items()
        for number, given in enumerate(info.optim_inputs_func(device="cpu"))
    ]


def errors_of():
    return [
        pytest.param(name, number, id=f"{name}-{e.optimizer_error_input.desc}".replace(" ", "_"))
        for name, info in INFOS.items()
        for number, e in enumerate(info.optim_error_inputs_func("cpu", torch.float64))
    ]


def ours(value, seen=None):
    """Return PyTorch's tensors in a setting as ours; the same one for the same one."""
    seen = {} if seen is None else seen
    if isinstance(value, torch.Tensor):
        kind = nn.Parameter if isinstance(value, torch.nn.Parameter) else Tensor
        return seen.setdefault(id(value), kind(value.detach().numpy().copy()))
    if isinstance(value, dict):
        return {k: ours(v, seen) for k, v in value.items()}
    return type(value)(ours(v, seen) for v in value) if isinstance(value, list | tuple) else value


def parameters():
    rng = np.random.default_rng(5)
    values = [rng.normal(size=s) for s in SHAPES]
    theirs = [torch.nn.Parameter(torch.from_numpy(v.copy())) for v in values]
    return [nn.Parameter(v) for v in values], theirs


def loss_of(params, step, library, sparse):
    """Return a quadratic loss; if ``sparse``, some rows have no part in it, as an embedding's."""
    total = 0.0
    for i, p in enumerate(params):
        rows = np.arange(len(p)) % 3 != (step % 3 if sparse else 3)
        scale = np.random.default_rng([step, i]).normal(size=p.shape) * rows[:, None]
        mask = rows[:, None].astype(float)
        if library == "ours":
            total = total + np.sum(scale * p + mask * p**2)
        else:
            total = total + (torch.from_numpy(scale) * p + torch.from_numpy(mask) * p**2).sum()
    return total


def step(optimizer, params, number, library, sparse):
    def closure():
        optimizer.zero_grad()
        loss = loss_of(params, number, library, sparse)
        loss.backward()
        if sparse and library == "theirs":
            for p in params:
                p.grad = p.grad.to_sparse(1)  # rows, as an embedding's gradient has them
        return loss

    return float(optimizer.step(closure).detach())


@pytest.mark.parametrize(("name", "number"), settings_of())
def test_five_steps_with_pytorchs_settings_are_pytorchs(name, number):
    given = INFOS[name].optim_inputs_func(device="cpu")[number]
    assert given.params is None
    mine, theirs = parameters()
    first = getattr(optim, name)(mine, **ours(given.kwargs))
    second = INFOS[name].optim_cls(theirs, **given.kwargs)
    sparse = INFOS[name].only_supports_sparse_grads
    tolerance = AT_THE_BOTTOM if "line_search_fn" in given.kwargs else 1e-9
    for i in range(5):
        found = step(first, mine, i, "ours", sparse)
        expected = step(second, theirs, i, "theirs", sparse)
        assert found == pytest.approx(expected, rel=tolerance), i
        for p, q in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(
                p.data, q.detach().numpy(), rtol=tolerance, atol=tolerance, err_msg=str(i)
            )


@pytest.mark.parametrize(
    ("name", "how"),
    [
        (name, how)
        for name, info in INFOS.items()
        for how in HOW
        if how in inspect.signature(info.optim_cls.__init__).parameters
    ],
)
def test_how_pytorch_computes_is_taken_or_refused(name, how):
    mine, _ = parameters()
    if how == "differentiable":
        with pytest.raises(GradError, match=f"{name}: steps here are not recorded"):
            getattr(optim, name)(mine, differentiable=True)
    getattr(optim, name)(mine, **{how: False})
    if how != "differentiable":
        getattr(optim, name)(mine, **{how: True})


@pytest.mark.parametrize("name", INFOS)
def test_the_positions_are_pytorchs(name):
    ours, theirs = (
        [(p.name, p.kind) for p in inspect.signature(kind.__init__).parameters.values()]
        for kind in (getattr(optim, name), INFOS[name].optim_cls)
    )
    assert ours == theirs


@pytest.mark.parametrize(("name", "number"), errors_of())
def test_what_pytorch_refuses_is_refused(name, number):
    wrong = INFOS[name].optim_error_inputs_func("cpu", torch.float64)[number]
    given = wrong.optimizer_error_input
    if (name, given.desc) in LEFT_OUT:
        pytest.skip(LEFT_OUT[name, given.desc])
    mine, _ = parameters()
    params = mine if given.params is None else ours(given.params)
    # A warning there (parameters named twice) may be an error here.
    kinds = (TypeError, ValueError) if wrong.error_type is not TypeError else TypeError
    with pytest.raises(kinds) as caught:
        getattr(optim, name)(params, **ours(given.kwargs))
    raised_in = caught.traceback[-1].path
    assert raised_in.parent.name == "optim" or raised_in.name == "arguments.py", "by chance"


def test_all_fifteen_are_here():
    assert len(INFOS) == 15
    assert set(INFOS) <= set(optim.__all__)

"""What PyTorch's hands call on a module: conversions, states and their hooks, clear refusals."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import ShapeError, Tensor, nn, optim
from distgrad.errors import DistgradError
from distgrad.nn import functional as F


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize(
    ("call", "dtype"),
    [
        (lambda m: m.to("cpu"), "f4"),
        (lambda m: m.cpu(), "f4"),
        (lambda m: m.to("cpu", np.float64), "f8"),
        (lambda m: m.to(device="cpu", dtype=np.float64, non_blocking=True), "f8"),
        (lambda m: m.to(np.float16), "f2"),
        (lambda m: m.to("float64"), "f8"),
        (lambda m: m.to(Tensor(np.ones(1))), "f8"),
        (lambda m: m.half(), "f2"),
        (lambda m: m.double(), "f8"),
        (lambda m: m.double().float(), "f4"),
        (lambda m: m.type(np.float64), "f8"),
    ],
)
def test_conversions_return_the_module_and_leave_counters_alone(call, dtype):
    module = net()
    assert call(module) is module
    found = {n: a.dtype for n, a in module.state_dict().items()}
    assert found.pop("1.num_batches_tracked") == np.int64
    assert set(found.values()) == {np.dtype(dtype)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.to("cuda"), "device='cuda': distgrad computes on CPUs"),
        (lambda m: m.to("cuda:0", np.float64), "computes on CPUs"),
        (lambda m: m.cuda(), "computes on CPUs"),
        (lambda m: m.to(np.int64), "floating-point numbers; got dtype int64"),
        (lambda m: m.bfloat16(), r"NumPy has no bfloat16: write half\(\)"),
        (lambda m: m.share_memory(), "ranks hold a copy each"),
        (lambda m: m.register_backward_hook(print), "write register_full_backward_hook"),
        (nn.DataParallel, r"write ddp = dg\.DistributedDataParallel\(model\)"),
    ],
)
def test_what_is_not_here_says_what_to_write(call, message):
    with pytest.raises(DistgradError, match=message):
        call(net())


def test_an_unknown_setting_of_to_is_named():
    with pytest.raises(TypeError, match=r"to\(\) has no setting foo"):
        net().to(foo=1)


def test_compile_changes_nothing():
    module = net()
    assert module.compile() is None
    assert module(np.ones((2, 3), np.float32)).shape == (2, 4)


def test_zero_grad_forgets_or_fills_with_zeros():
    module = net()
    for forget in (True, False):
        module(np.eye(3, dtype=np.float32)).sum().backward()
        module.zero_grad(set_to_none=forget)
        grads = [p.grad for p in module.parameters()]
        assert all((g is None) == forget for g in grads)
        assert forget or not any(g.array.any() for g in grads)


def test_a_state_may_hold_the_tensors_themselves():
    module = net()
    state = module.state_dict(keep_vars=True)
    assert state["0.weight"] is module[0].weight
    assert state["1.running_mean"] is module[1].running_mean


def test_assigned_states_keep_their_dtype_and_the_parameters_their_identity():
    module, other = net(), net().double()
    weight = module[0].weight
    assert not module.load_state_dict(other.state_dict(), assign=True).missing_keys
    assert module[0].weight is weight
    assert weight.dtype == np.float64
    np.testing.assert_array_equal(weight.array, other[0].weight.array)
    module.load_state_dict(net().state_dict())
    assert weight.dtype == np.float64
    held = net()
    ddp = dg.DistributedDataParallel(held)
    with pytest.raises(DistgradError, match=r"'0\.weight' lives in the buckets"):
        held.load_state_dict(other.state_dict(), assign=True)
    ddp.close() if hasattr(ddp, "close") else None


def test_state_hooks_run_in_pytorchs_order_and_may_change_the_state():
    module, seen = net(), []
    module[0].register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix)))
    module[0].register_state_dict_post_hook(lambda m, state, prefix, meta: state.pop("0.bias"))
    handle = module[1].register_load_state_dict_pre_hook(
        lambda m, state, prefix, *rest: state.update({prefix + "weight": np.full(4, 7.0, "f4")})
    )
    module.register_load_state_dict_post_hook(lambda m, keys: seen.append(keys.missing_keys))
    state = module.state_dict()
    assert "0.bias" not in state
    module[0]._state_hooks.clear()
    module.load_state_dict(state, strict=False)
    assert seen == [("pre", "0."), ["0.bias"]]
    assert (module[1].weight.array == 7).all()
    assert "1.weight" in state
    handle.remove()
    assert not module[1]._state_hooks


def test_an_array_becomes_a_buffer():
    module = nn.Module()
    module.register_buffer("table", np.arange(3))
    assert isinstance(module.table, Tensor)
    assert list(module.state_dict()) == ["table"]
    with pytest.raises(TypeError, match="the buffer 'other' must be a Tensor or None; got list"):
        module.register_buffer("other", [1, 2])


def test_a_submodule_is_replaced_by_its_dotted_name():
    module = nn.Sequential(net(), nn.Tanh())
    module.set_submodule("0.1", nn.LayerNorm(4))
    assert type(module[0][1]) is nn.LayerNorm
    assert module[0](np.ones((2, 3), np.float32)).shape == (2, 4)
    with pytest.raises(AttributeError, match=r"no submodule 'x'"):
        module.set_submodule("x.y", nn.Tanh())
    with pytest.raises(TypeError, match="the module '1' must be a Module or None; got int"):
        module.set_submodule("0.1", 3)


def test_identity_takes_what_the_layer_it_replaces_took():
    assert nn.Identity(54, unused=0.1)(3) == 3


def test_a_parameter_may_need_no_gradient():
    assert not nn.Parameter(Tensor(np.ones(2)), requires_grad=False).requires_grad


@pytest.mark.parametrize(
    "name",
    [
        *("Linear", "Bilinear", "Conv1d", "ConvTranspose2d", "LSTM", "GRUCell", "Embedding"),
        *("PReLU", "BatchNorm1d", "InstanceNorm2d", "SyncBatchNorm", "LayerNorm", "RMSNorm"),
        "GroupNorm",
    ],
)
def test_parameters_are_drawn_anew_as_at_the_start(name):
    sizes = {"Bilinear": (3, 4, 5), "Conv1d": (3, 4, 2), "ConvTranspose2d": (3, 4, 2)}
    sizes |= {"GroupNorm": (2, 4), **dict.fromkeys(("LayerNorm", "RMSNorm", "BatchNorm1d"), (4,))}
    sizes |= {
        "PReLU": (3, 0.5),
        "InstanceNorm2d": (4, 1e-5, 0.1, True, True),
        "SyncBatchNorm": (4,),
    }
    dg.manual_seed(4)
    layer = getattr(nn, name)(*sizes.get(name, (3, 4)))
    first = {n: a.copy() for n, a in layer.state_dict().items()}
    for t in [*layer.parameters(), *layer.buffers()]:
        t.array[...] = 9
    dg.manual_seed(4)
    layer.reset_parameters()
    for n, a in layer.state_dict().items():
        np.testing.assert_array_equal(a, first[n])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: F.cross_entropy(np.zeros((2, 3), int), np.zeros(2, int)),
            "cross_entropy takes floating-point logits .* labels second; got int64",
        ),
        (lambda: F.softmax(np.zeros(0, int), 0), "softmax takes floating-point numbers; got int64"),
        (lambda: F.log_softmax(np.zeros(0, int), 0), "log_softmax takes floating-point"),
        (lambda: F.softmin(np.zeros(0, int), 0), "softmin takes floating-point"),
        (lambda: F.softmax(np.zeros((2, 3))), "softmax needs dim, .*: write dim=-1"),
        (lambda: F.batch_norm(np.zeros(0), None, None, training=True), r"takes \(n, c, …\); got"),
        (lambda: F.normalize(np.zeros(3)), r"dim=1 is no axis of \(3,\); write dim=-1"),
        (
            lambda: F.cosine_similarity(np.zeros((2, 3)), np.zeros((3, 4))),
            r"\(2, 3\) and \(3, 4\) do not broadcast",
        ),
        (lambda: nn.Linear(2, 3)(None), "a Tensor holds numbers or booleans; got None"),
        (lambda: nn.Linear(2, 3)("a"), "a Tensor holds numbers or booleans; got 'a'"),
        (lambda: nn.CircularPad1d(1)(np.ones((1, 2, 3, 4))), r"CircularPad1d expects \(n, c, l\)"),
        (lambda: nn.BatchNorm1d(3, eps=0)(np.ones((2, 3))), "eps=0 keeps training from dividing"),
    ],
)
def test_inputs_that_do_not_fit_are_named(call, message):
    with pytest.raises((ShapeError, TypeError), match=message):
        call()


def test_softmax_converts_first_if_a_dtype_is_given():
    x = np.array([[1, 2, 3]])
    y = F.softmax(x, -1, dtype=np.float64)
    assert y.dtype == np.float64
    np.testing.assert_allclose(F.log_softmax(x, -1, dtype=np.float64).array, np.log(y.array))
    np.testing.assert_allclose(F.softmin(-x, -1, dtype=np.float64).array, y.array)


@pytest.mark.parametrize(
    "kind", ["ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "ELU", "CELU"]
)
def test_in_place_activations_have_the_same_values_and_gradients(kind):
    results = []
    for inplace in (False, True):
        x = Tensor(np.linspace(-3, 3, 7), requires_grad=True)
        y = getattr(nn, kind)(inplace=inplace)(x * 1)
        y.sum().backward()
        results.append((y.array, x.grad.array))
    np.testing.assert_array_equal(results[0], results[1])


def test_containers_are_added_and_multiplied():
    a, b = nn.Sequential(nn.Tanh()), nn.Sequential(nn.ReLU(), nn.GELU())
    assert [type(m).__name__ for m in a + b] == ["Tanh", "ReLU", "GELU"]
    box = nn.Container(first=nn.Tanh())
    assert [n for n, _ in box.named_children()] == ["first"]


def test_an_optimizer_takes_parameters_that_need_no_gradient():
    optim.SGD([nn.Parameter(np.ones(2), requires_grad=False)], lr=0.1)

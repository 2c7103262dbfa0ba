"""``nn.utils.prune`` beside PyTorch's: masks, states, training under them."""

import inspect

import numpy as np
import pytest
from oracle import assert_close, torch

from distgrad import Tensor, nn, optim
from distgrad.errors import ShapeError
from distgrad.nn.utils import prune

theirs_prune = pytest.importorskip("torch.nn.utils.prune")


def both(seed=0):
    ours = nn.Conv2d(3, 4, 2).double()
    theirs = torch.nn.Conv2d(3, 4, 2).double()
    rng = np.random.default_rng(seed)
    state = {n: rng.normal(size=a.shape) for n, a in ours.state_arrays().items()}
    ours.load_state_dict(state)
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in state.items()})
    return ours, theirs


def same(ours, theirs):
    expected = theirs.state_dict()
    assert sorted(ours.state_dict()) == sorted(expected)
    for name, value in expected.items():
        assert_close(ours.state_dict()[name], value.detach().numpy(), name)
    assert_close(ours.weight.data, theirs.weight.detach().numpy())


def mask():
    return (np.arange(48).reshape(4, 3, 2, 2) % 5 != 0).astype(np.float64)


CALLS = {
    "l1": lambda p, m, t: p.l1_unstructured(m, "weight", 0.3),
    "l1 number": lambda p, m, t: p.l1_unstructured(m, "weight", amount=11),
    "l1 scores": lambda p, m, t: p.l1_unstructured(m, "weight", 7, t(np.arange(48.0))),
    "ln": lambda p, m, t: p.ln_structured(m, "weight", 0.5, n=2, dim=0),
    "ln of ones": lambda p, m, t: p.ln_structured(m, "weight", 1, 1, 1),
    "ln inf": lambda p, m, t: p.ln_structured(m, "weight", 1, float("inf"), -1),
    "custom": lambda p, m, t: p.custom_from_mask(m, "weight", t(mask())),
    "identity": lambda p, m, t: p.identity(m, "weight"),
    "nothing": lambda p, m, t: p.ln_structured(m, "weight", 0, 2, 0),
}


def our_tensor(a):
    return Tensor(a.reshape(4, 3, 2, 2))


def their_tensor(a):
    return torch.from_numpy(a.reshape(4, 3, 2, 2))


@pytest.mark.parametrize("second", [None, *CALLS])
@pytest.mark.parametrize("first", CALLS)
def test_masks_one_after_the_other_are_pytorchs(first, second):
    ours, theirs = both()
    for name in (first, second):
        if name is not None:
            CALLS[name](prune, ours, our_tensor)
            CALLS[name](theirs_prune, theirs, their_tensor)
            same(ours, theirs)
    assert prune.is_pruned(nn.Sequential(ours))
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 4))
    mine = optim.SGD(ours.parameters(), lr=0.1)
    other = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(2):
        found, expected = ours(x), theirs(torch.from_numpy(x))
        assert_close(found.data, expected.detach().numpy())
        np.sum(found**2).backward()
        (expected**2).sum().backward()
        mine.step()
        other.step()
        mine.zero_grad()
        other.zero_grad()
    ours(x)
    theirs(torch.from_numpy(x))
    same(ours, theirs)
    prune.remove(ours, "weight")
    theirs_prune.remove(theirs, "weight")
    same(ours, theirs)
    assert not prune.is_pruned(ours)
    assert isinstance(ours.weight, nn.Parameter)


def test_several_parameters_are_pruned_as_one():
    ours, theirs = both()
    prune.l1_unstructured(ours, "bias", 1)
    theirs_prune.l1_unstructured(theirs, "bias", 1)
    prune.global_unstructured([(ours, "weight"), (ours, "bias")], prune.L1Unstructured, amount=20)
    theirs_prune.global_unstructured(
        [(theirs, "weight"), (theirs, "bias")], theirs_prune.L1Unstructured, amount=20
    )
    same(ours, theirs)
    assert_close(ours.bias.data, theirs.bias.detach().numpy())


@pytest.mark.parametrize("amount", [0.25, 12])
def test_as_many_random_elements_and_channels_are_pruned(amount):
    layer = both()[0]
    prune.random_unstructured(layer, "weight", amount)
    assert int((layer.weight_mask.data == 0).sum()) == 12
    layer = both()[0]
    prune.random_structured(layer, "weight", 0.5, dim=0)
    channels = layer.weight_mask.data.reshape(4, -1)
    assert sorted(channels.sum(axis=1).tolist()) == [0, 0, 12, 12]


def test_a_method_of_ones_own_is_applied():
    class Every(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            new = np.array(default_mask.detach())
            new.reshape(-1)[::3] = 0
            return Tensor(new)

    layer = both()[0]
    Every.apply(layer, "weight")
    assert int((layer.weight_mask.data == 0).sum()) == 16
    Every.apply(layer, "weight")
    assert int((layer.weight_mask.data == 0).sum()) == 16 + 11
    t = Tensor(np.arange(6.0))
    assert Every().prune(t).data.tolist() == [0, 1, 2, 0, 4, 5]


def test_every_name_is_here_with_pytorchs_positions():
    for name in prune.__all__:
        expected = getattr(theirs_prune, name)
        if inspect.isfunction(expected):
            found = list(inspect.signature(getattr(prune, name)).parameters)
            assert found == list(inspect.signature(expected).parameters), name
    public = [
        n
        for n, v in vars(theirs_prune).items()
        if getattr(v, "__module__", "") == (theirs_prune.__name__)
    ]
    assert {n for n in public if not n.startswith("_")} == set(prune.__all__)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda m: prune.l1_unstructured(m, "wight", 1), ShapeError, "has no parameter 'wight'"),
        (lambda m: prune.l1_unstructured(m, "weight", -1), ShapeError, "amount=-1 must be a whole"),
        (lambda m: prune.l1_unstructured(m, "weight", 1.5), ShapeError, "amount=1.5 must be"),
        (lambda m: prune.l1_unstructured(m, "weight", "x"), TypeError, "amount is a number"),
        (lambda m: prune.l1_unstructured(m, "weight", 99), ShapeError, "more than the 48"),
        (lambda m: prune.ln_structured(m, "bias", 1, 2, 0), ShapeError, "no channels along dim=0"),
        (
            lambda m: prune.ln_structured(m, "weight", 1, 2, 4),
            ShapeError,
            "along dim=4",
        ),
        (lambda m: prune.remove(m, "weight"), ShapeError, "'weight' of Conv2d has not been pruned"),
        (
            lambda m: prune.custom_from_mask(m, "weight", np.ones(3)),
            ShapeError,
            r"the mask has the shape \(3,\)",
        ),
        (
            lambda m: prune.global_unstructured([(m, "weight")], prune.LnStructured, amount=1, n=2),
            TypeError,
            "LnStructured is structured",
        ),
    ],
)
def test_what_cannot_be_pruned_is_named_and_left_alone(call, kind, message):
    layer = both()[0]
    names = list(layer.state_dict())
    with pytest.raises(kind, match=message):
        call(layer)
    assert list(layer.state_dict()) == names
    assert not layer._hooks

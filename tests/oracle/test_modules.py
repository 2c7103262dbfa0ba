"""Models beside PyTorch's: names and order of states, and safetensors files that move both ways."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from itertools import chain

import numpy as np
import pytest
import safetensors.numpy
from oracle import assert_close, torch

from distgrad import Tensor, nn

# Not among the imports: it needs PyTorch, whose absence `oracle` has to notice first.
safetensors_torch = importlib.import_module("safetensors.torch")


def mlp(n):
    return n.Sequential(n.Linear(5, 4), n.GELU(), n.Dropout(0.0), n.Linear(4, 3, bias=False))


def cnn(n):
    return n.Sequential(
        n.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2),
        n.BatchNorm2d(6),
        n.ReLU(),
        n.MaxPool2d(2),
        n.Sequential(n.Conv2d(6, 2, 1, bias=False), n.BatchNorm2d(2, momentum=None)),
        n.Flatten(),
        n.GroupNorm(2, 8),
    )


def tokens(n):
    return n.Sequential(
        OrderedDict(table=n.Embedding(7, 5), norm=n.LayerNorm(5), root=n.RMSNorm(5, 1e-6))
    )


def shared(n):
    layer = n.Linear(3, 3)
    model = n.Sequential(layer, n.Tanh(), layer, n.Linear(3, 3))
    model[3].weight = layer.weight
    model.norm = n.BatchNorm1d(3)
    model.again = model.norm
    return model


def nested(n):
    class Nested(n.Module):
        def __init__(self):
            super().__init__()
            self.blocks = n.ModuleList(
                [n.ModuleDict({"up": n.Linear(4, 4), "norm": n.LayerNorm(4)}) for _ in range(3)]
            )
            self.register_parameter("absent", None)
            self.scales = n.ParameterList([n.Parameter(one(n, i + 1.0)) for i in range(3)])
            self.gates = n.ParameterDict({"in": n.Parameter(one(n, 2.0))})

        def forward(self, x):
            x = x * self.gates["in"]
            for block, scale in zip(self.blocks, self.scales, strict=True):
                x = x + scale * block["up"](block["norm"](x))
            return x

    def one(n, value):
        array = np.full(4, value, np.float32)
        return torch.from_numpy(array) if n is torch.nn else array

    return Nested()


RNG = np.random.default_rng(0)
MODELS = {
    "mlp": (mlp, RNG.normal(size=(6, 5)).astype(np.float32)),
    "cnn": (cnn, RNG.normal(size=(6, 4, 8, 7)).astype(np.float32)),
    "tokens": (tokens, RNG.integers(0, 7, (6, 3))),
    "shared": (shared, RNG.normal(size=(6, 3)).astype(np.float32)),
    "nested": (nested, RNG.normal(size=(6, 4)).astype(np.float32)),
}


@pytest.fixture(params=MODELS)
def both(request):
    make, x = MODELS[request.param]
    ours, theirs = make(nn), make(torch.nn)
    for p in theirs.parameters():
        torch.nn.init.normal_(p, 0.3)
    return ours, theirs, x


def same_outputs(ours, theirs, x):
    """In training, which moves running statistics, and then in evaluation."""
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        found = ours(x if x.dtype.kind == "i" else Tensor(x))
        expected = theirs(torch.from_numpy(x)).detach().numpy()
        # Both are float32.
        assert_close(found.data, expected, rtol=1e-4)


def same_states(ours, theirs):
    states = ours.state_dict(), theirs.state_dict()
    assert list(states[0]) == list(states[1])
    for name, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][name].numpy(), err_msg=name)


def test_names_order_shapes_and_dtypes_are_pytorchs(both):
    ours, theirs, _ = both
    found = [(n, a.shape, str(a.dtype)) for n, a in ours.state_arrays().items()]
    expected = [
        (n, tuple(t.shape), str(t.dtype).removeprefix("torch."))
        for n, t in theirs.state_dict().items()
    ]
    assert found == expected


@pytest.mark.parametrize("settings", [{}, {"prefix": "net"}, {"remove_duplicate": False}])
def test_the_walks_are_pytorchs(both, settings):
    ours, theirs, _ = both
    for walk in ("named_parameters", "named_buffers", "named_modules"):
        found = [n for n, _ in getattr(ours, walk)(**settings)]
        assert found == [n for n, _ in getattr(theirs, walk)(**settings)], walk
    assert list(ours.state_dict(prefix="a.")) == list(theirs.state_dict(prefix="a."))
    assert [n for n, _ in ours.named_children()] == [n for n, _ in theirs.named_children()]


def test_a_file_of_pytorchs_gives_the_same_outputs_here(both, tmp_path):
    ours, theirs, x = both
    # save_model keeps shared tensors under one name, save_file refuses them.
    safetensors_torch.save_model(theirs, tmp_path / "model.safetensors")
    ours.load_state_dict(safetensors.numpy.load_file(tmp_path / "model.safetensors"))
    same_states(ours, theirs)
    same_outputs(ours, theirs, x)


def test_a_file_of_ours_gives_the_same_outputs_there(both, tmp_path):
    ours, theirs, x = both
    for p in ours.parameters():
        p.data += 0.1
    safetensors.numpy.save_file(ours.state_dict(), tmp_path / "model.safetensors")
    theirs.load_state_dict(safetensors_torch.load_file(tmp_path / "model.safetensors"))
    same_states(ours, theirs)
    same_outputs(ours, theirs, x)


def test_states_travel_without_files_too(both):
    ours, theirs, x = both
    ours.load_state_dict(theirs.state_dict())
    same_states(ours, theirs)
    for p in ours.parameters():
        p.data *= 2
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_arrays().items()})
    same_states(ours, theirs)
    same_outputs(ours, theirs, x)


def test_trained_statistics_travel_back(both):
    ours, theirs, x = both
    ours.load_state_dict(theirs.state_dict())
    same_outputs(ours, theirs, x)
    expected = theirs.state_dict()
    for name, array in ours.state_arrays().items():
        assert_close(array, expected[name].numpy(), name, rtol=1e-5)


def test_keys_that_do_not_fit_are_reported_as_pytorch_does():
    given = {"weight": np.zeros((2, 2), np.float32), "extra": np.zeros(1, np.float32)}
    found = nn.Linear(2, 2).load_state_dict(given, strict=False)
    state = {n: torch.tensor(a) for n, a in given.items()}
    expected = torch.nn.Linear(2, 2).load_state_dict(state, strict=False)
    assert found.missing_keys == expected.missing_keys
    assert found.unexpected_keys == expected.unexpected_keys


def hooked_run(n):
    """What hooks see in one forward and backward pass, as (who, lists of arrays)."""
    model, seen = n.Sequential(n.LayerNorm(3), n.Tanh()), []

    def note(who, *groups):
        arrays = [[np.array(x.tolist()) for x in g] for g in groups]
        seen.append((who, arrays))

    def tensors(xs):
        return [x.data if isinstance(x, Tensor) else x.detach() for x in xs]

    model.register_forward_pre_hook(lambda m, a: note("pre", tensors(a)))
    model[1].register_forward_hook(lambda m, a, y: note("post", tensors(a), tensors([y])))
    model[1].register_full_backward_pre_hook(lambda m, g: note("back pre", tensors(g)))
    model[1].register_full_backward_hook(lambda m, i, o: note("back", tensors(i), tensors(o)))
    model.register_full_backward_hook(lambda m, i, o: note("all", tensors(i), tensors(o)))
    data = np.array([[1.0, 2.0, 4.0]], np.float32)
    x = Tensor(data) if n is nn else torch.from_numpy(data)
    y = model(x.requires_grad_())
    (y * y).sum().backward()
    return seen


def test_hooks_see_in_order_what_pytorchs_see():
    ours, theirs = hooked_run(nn), hooked_run(torch.nn)
    assert [who for who, _ in ours] == ["pre", "post", "back pre", "back", "all"]
    assert [who for who, _ in theirs] == [who for who, _ in ours]
    for (who, mine), (_, other) in zip(ours, theirs, strict=True):
        for a, b in zip(chain(*mine), chain(*other), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, err_msg=who)


def test_models_print_as_pytorchs():
    def model(n):
        block = n.Sequential(n.Linear(3, 3, bias=False), n.ReLU(), n.BatchNorm1d(3, affine=False))
        same = n.ModuleList([n.Sequential(n.LayerNorm(3), n.Tanh()) for _ in range(4)])
        return n.ModuleDict({"a": block, "b": same, "c": n.ModuleList(), "d": n.GroupNorm(1, 2)})

    assert repr(model(nn)) == repr(model(torch.nn))

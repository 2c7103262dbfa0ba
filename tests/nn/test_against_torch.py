"""Names, order, shapes and dtypes of state_dict beside PyTorch's own; states travel both ways."""

import numpy as np
import pytest

from distgrad import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")


def mlp(n):
    return n.Sequential(n.Linear(5, 4), n.GELU(), n.Dropout(0.1), n.Linear(4, 3, bias=False))


def cnn(n):
    return n.Sequential(
        n.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2),
        n.BatchNorm2d(6),
        n.ReLU(),
        n.MaxPool2d(2),
        n.Sequential(n.Conv2d(6, 2, 1, bias=False), n.BatchNorm2d(2), n.AvgPool2d(2)),
        n.Flatten(),
    )


def tokens(n):
    return n.Sequential(
        n.Embedding(7, 5),
        n.LayerNorm(5),
        n.ModuleList([n.Linear(5, 5), n.LayerNorm((2, 5), bias=False)]),
        n.BatchNorm1d(5),
    )


def shared(n):
    layer = n.Linear(3, 3)
    model = n.Sequential(layer, n.Tanh(), layer)
    model.norm = n.BatchNorm1d(3)
    model.again = model.norm
    return model


@pytest.fixture(params=[mlp, cnn, tokens, shared])
def both(request):
    return request.param(nn), request.param(torch.nn)


def test_state_dicts_are_alike(both):
    ours, theirs = both
    found = [(n, a.shape, str(a.dtype)) for n, a in ours.state_dict().items()]
    expected = [
        (n, tuple(t.shape), str(t.dtype).removeprefix("torch."))
        for n, t in theirs.state_dict().items()
    ]
    assert found == expected


def test_the_walks_are_alike(both):
    ours, theirs = both
    for walk in ("named_parameters", "named_buffers", "named_modules"):
        found = [n for n, _ in getattr(ours, walk)()]
        assert found == [n for n, _ in getattr(theirs, walk)()], walk


def test_states_travel_both_ways(both):
    ours, theirs = both
    ours.load_state_dict(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], tensor.numpy())
    for p in ours.parameters():
        p.data[...] += 1
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], tensor.numpy())


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4), (6, 3, 4, 2)])
def test_running_statistics_follow_as_pytorchs(shape):
    kind = "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
    ours, theirs = getattr(nn, kind)(3, momentum=0.3), getattr(torch.nn, kind)(3, momentum=0.3)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(2, 3, shape).astype(np.float32)
        found, expected = ours(nn.Parameter(x)), theirs(torch.from_numpy(x))
        np.testing.assert_allclose(found.data, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    for name, buffer in theirs.named_buffers():
        np.testing.assert_allclose(ours.state_dict()[name], buffer.numpy(), rtol=1e-5)
    x = np.random.default_rng(9).normal(size=shape).astype(np.float32)
    found, expected = ours.eval()(nn.Parameter(x)), theirs.eval()(torch.from_numpy(x))
    np.testing.assert_allclose(found.data, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["kaiming_uniform_", "xavier_uniform_", "xavier_normal_", "kaiming_normal_"]
)
def test_initialisers_spread_as_pytorchs(name):
    ours = nn.Parameter(np.zeros((60, 50, 3, 2), np.float32))
    theirs = torch.empty(60, 50, 3, 2)
    getattr(nn.init, name)(ours)
    getattr(torch.nn.init, name)(theirs)
    assert ours.data.std() == pytest.approx(float(theirs.std()), rel=0.03)

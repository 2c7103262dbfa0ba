"""``nn.utils`` beside PyTorch's: the same weights, gradients, states and steps."""

import inspect

import numpy as np
import pytest
from oracle import assert_close, torch

from distgrad import Tensor, nn, optim
from distgrad.nn import utils

RNN = {"rnn"}  # packed sequences have a test of their own


@pytest.fixture(autouse=True)
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


SPACES = [
    (utils, torch.nn.utils),
    (utils.parametrize, torch.nn.utils.parametrize),
    (utils.parametrizations, torch.nn.utils.parametrizations),
    (utils.stateless, torch.nn.utils.stateless),
]


@pytest.mark.parametrize(("ours", "theirs"), SPACES, ids=lambda m: m.__name__)
def test_every_name_is_here_with_pytorchs_positions(ours, theirs):
    for name in set(theirs.__all__) - RNN:
        found, expected = getattr(ours, name), getattr(theirs, name)
        if inspect.isfunction(expected):
            positions = [list(inspect.signature(f).parameters) for f in (found, expected)]
            assert positions[0] == positions[1], name


# -- clipping and vectors ---------------------------------------------------------------------


def with_gradients(dtype="float64"):
    rng = np.random.default_rng(2)
    values = [rng.normal(size=s).astype(dtype) for s in [(3, 4), (5,), ()]]
    grads = [np.asarray(rng.normal(size=v.shape), dtype) for v in values]
    ours = [nn.Parameter(v) for v in values]
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(v))) for v in values]
    for p, q, g in zip(ours, theirs, grads, strict=True):
        p.grad, q.grad = Tensor(g.copy()), torch.from_numpy(np.array(g))
    return ours, theirs


def same_gradients(ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p.grad.data, q.grad.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm_type", [1, 2.0, 3.5, float("inf"), "inf"])
@pytest.mark.parametrize("name", ["clip_grad_norm_", "clip_grad_norm"])
@pytest.mark.filterwarnings("ignore:.*clip_grad_norm:FutureWarning")
def test_clipping_by_norm_is_pytorchs(name, norm_type, dtype):
    ours, theirs = with_gradients(dtype)
    found = getattr(utils, name)(ours, 1.5, norm_type, foreach=True)
    expected = getattr(torch.nn.utils, name)(theirs, 1.5, norm_type)
    assert isinstance(found, Tensor)
    assert_close(found.data, expected.numpy())
    same_gradients(ours, theirs)


def test_clipping_in_two_steps_and_by_value_is_pytorchs():
    ours, theirs = with_gradients()
    norm = utils.get_total_norm([p.grad for p in ours])
    expected = torch.nn.utils.get_total_norm([q.grad for q in theirs])
    assert_close(norm.data, expected.numpy())
    utils.clip_grads_with_norm_(ours, 0.5, norm)
    torch.nn.utils.clip_grads_with_norm_(theirs, 0.5, expected)
    same_gradients(ours, theirs)
    utils.clip_grad_value_(ours, 0.1)
    torch.nn.utils.clip_grad_value_(theirs, 0.1)
    same_gradients(ours, theirs)
    lone, other = ours[0], theirs[0]
    utils.clip_grad_norm_(lone, 0.01)
    torch.nn.utils.clip_grad_norm_(other, 0.01)
    same_gradients([lone], [other])
    assert float(utils.get_total_norm([])) == 0.0


def test_vectors_of_parameters_are_pytorchs_and_on_the_tape():
    ours, theirs = with_gradients()
    found = utils.parameters_to_vector(ours)
    expected = torch.nn.utils.parameters_to_vector(theirs)
    assert_close(found.data, expected.detach().numpy())
    for p, q in zip(ours, theirs, strict=True):
        p.grad = q.grad = None
    np.sum(found**2).backward()
    (expected**2).sum().backward()
    same_gradients(ours, theirs)
    vector = np.random.default_rng(0).normal(size=18)
    utils.vector_to_parameters(Tensor(vector), ours)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(vector), theirs)
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p.data, q.detach().numpy())


# -- layers in one ----------------------------------------------------------------------------


def copied(ours, theirs, seed=0):
    """Give both the same random state."""
    rng = np.random.default_rng(seed)
    state = {
        n: rng.uniform(0.5, 1.5, a.shape) if a.dtype.kind == "f" else np.array(3)
        for n, a in ours.state_arrays().items()
    }
    assert list(state) == list(theirs.state_dict())
    ours.load_state_dict(state)
    theirs.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in state.items()})


LAYERS = {
    "conv": lambda m: (m.Conv2d(3, 4, 3), m.BatchNorm2d(4), "conv"),
    "conv without bias": lambda m: (m.Conv1d(3, 4, 2, bias=False), m.BatchNorm1d(4), "conv"),
    "transposed": lambda m: (m.ConvTranspose2d(3, 4, 3), m.BatchNorm2d(4), "transposed"),
    "plain norm": lambda m: (m.Conv2d(3, 4, 3), m.BatchNorm2d(4, affine=False), "conv"),
    "linear": lambda m: (m.Linear(5, 4), m.BatchNorm1d(4), "linear"),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_with_its_batch_norm_is_fused_as_by_pytorch(kind):
    layer, bn, how = LAYERS[kind](nn)
    ours = nn.Sequential(layer, bn).double().eval()
    theirs = torch.nn.Sequential(*LAYERS[kind](torch.nn)[:2]).eval()
    copied(ours, theirs)
    if how == "linear":
        found = utils.fuse_linear_bn_eval(*ours)
        expected = torch.nn.utils.fuse_linear_bn_eval(*theirs)
    else:
        found = utils.fuse_conv_bn_eval(*ours, transpose=how == "transposed")
        expected = torch.nn.utils.fuse_conv_bn_eval(*theirs, transpose=how == "transposed")
    for name, value in expected.state_dict().items():
        assert_close(found.state_dict()[name], value.numpy(), name)
    shape = {"linear": (2, 5), "conv without bias": (2, 3, 7)}.get(kind, (2, 3, 6, 6))
    x = np.random.default_rng(1).normal(size=shape)
    assert_close(np.asarray(found(x).detach()), np.asarray(ours(x).detach()))


# -- norms of weights, parametrizations -------------------------------------------------------


def train(ours, theirs, x, steps=4):
    """Three steps of both; the outputs, gradients and states stay equal."""
    mine = optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    other = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        mine.zero_grad()
        other.zero_grad()
        found, expected = ours(x), theirs(torch.from_numpy(x))
        assert_close(found.data, expected.detach().numpy(), f"step {step}")
        np.mean((found - 1.0) ** 2).backward()
        ((expected - 1.0) ** 2).mean().backward()
        mine.step()
        other.step()
        same_state(ours, theirs, step)
    for m in (ours, theirs):
        m.eval()
    assert_close(ours(x).data, theirs(torch.from_numpy(x)).detach().numpy())


def same_state(ours, theirs, what=""):
    expected = theirs.state_dict()
    found = ours.state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert_close(found[name], value.detach().numpy(), f"{name} {what}", rtol=1e-9)


def model(space):
    """A linear layer, a convolution and a transposed one."""
    return {
        "linear": (lambda: space.Linear(4, 3), (5, 4)),
        "conv": (lambda: space.Conv2d(2, 3, 3), (2, 2, 5, 5)),
        "transposed": (lambda: space.ConvTranspose2d(2, 3, 3), (2, 2, 5, 5)),
    }


NORMS = [
    ("weight_norm", {}),
    ("weight_norm", {"dim": 1}),
    ("weight_norm", {"dim": None}),
    ("spectral_norm", {}),
    ("spectral_norm", {"n_power_iterations": 3}),
]


@pytest.mark.parametrize("layer", ["linear", "conv", "transposed"])
@pytest.mark.parametrize("place", ["hook", "parametrization"])
@pytest.mark.parametrize(("name", "settings"), NORMS)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_normed_weights_are_trained_as_pytorchs(name, settings, place, layer):
    make, shape = model(nn)[layer]
    there, _ = model(torch.nn)[layer]
    ours, theirs = make().double(), there()
    if place == "hook":
        getattr(utils, name)(ours, **settings)
        getattr(torch.nn.utils, name)(theirs, **settings)
    else:
        getattr(utils.parametrizations, name)(ours, **settings)
        getattr(torch.nn.utils.parametrizations, name)(theirs, **settings)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    rng = np.random.default_rng(0)
    state = {n: rng.normal(size=a.shape) for n, a in ours.state_arrays().items()}
    for n in [n for n in state if n.endswith(("_u", "_v")) and "spectral" in name]:
        state[n] /= np.linalg.norm(state[n])
    ours.load_state_dict(state)
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in state.items()})
    train(ours, theirs, rng.normal(size=shape))
    if place == "hook":
        getattr(utils, f"remove_{name}")(ours)
        getattr(torch.nn.utils, f"remove_{name}")(theirs)
    else:
        utils.parametrize.remove_parametrizations(ours, "weight")
        torch.nn.utils.parametrize.remove_parametrizations(theirs, "weight")
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    assert_close(ours.weight.data, theirs.weight.detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("place", ["hook", "parametrization"])
def test_a_weights_norm_at_first_is_pytorchs(place):
    ours, theirs = nn.Linear(4, 3).double(), torch.nn.Linear(4, 3)
    copied(ours, theirs)
    before = np.array(ours.weight.detach())
    space = (utils, torch.nn.utils)
    if place == "parametrization":
        space = (utils.parametrizations, torch.nn.utils.parametrizations)
        space[0].weight_norm(ours)
        space[1].weight_norm(theirs)
        same_state(ours, theirs)
    assert_close(ours.weight.data, before)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("map_", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("trivial", [True, False])
def test_orthogonal_weights_are_trained_as_pytorchs(shape, map_, trivial):
    ours, theirs = nn.Linear(*shape[::-1]).double(), torch.nn.Linear(*shape[::-1])
    copied(ours, theirs)
    utils.parametrizations.orthogonal(ours, orthogonal_map=map_, use_trivialization=trivial)
    torch.nn.utils.parametrizations.orthogonal(
        theirs, orthogonal_map=map_, use_trivialization=trivial
    )
    small, large = sorted(shape)
    weight = ours.weight.data if shape[0] == large else ours.weight.data.T
    np.testing.assert_allclose(weight.T @ weight, np.eye(small), atol=1e-12)
    assert_close(ours.weight.data, theirs.weight.detach().numpy(), rtol=1e-9)
    # The columns that complete the base are drawn.
    theirs.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in ours.state_arrays().items()})
    train(ours, theirs, np.random.default_rng(1).normal(size=(6, shape[1])))
    weight = ours.weight.data if shape[0] == large else ours.weight.data.T
    np.testing.assert_allclose(weight.T @ weight, np.eye(small), atol=1e-12)


def symmetric(space, library):
    class Symmetric(space.Module):
        def forward(self, X):
            if library == "ours":
                return np.triu(X) + np.swapaxes(np.triu(X, 1), 0, 1)
            return X.triu() + X.triu(1).mT

        def right_inverse(self, A):
            return np.triu(A) if library == "ours" else A.triu()

    return Symmetric()


def scaled(space):
    class Scaled(space.Module):
        def __init__(self):
            super().__init__()
            value = Tensor(np.array([[2.0]])) if space is nn else torch.tensor([[2.0]])
            self.scale = space.Parameter(value)

        def forward(self, X):
            return X * self.scale

    return Scaled()


def test_own_parametrizations_one_after_the_other_are_pytorchs():
    ours, theirs = nn.Linear(4, 4).double(), torch.nn.Linear(4, 4)
    copied(ours, theirs)
    both = ((ours, utils.parametrize, nn), (theirs, torch.nn.utils.parametrize, torch.nn))
    for module, parametrize, space in both:
        library = "ours" if space is nn else "theirs"
        parametrize.register_parametrization(module, "weight", symmetric(space, library))
        parametrize.register_parametrization(module, "weight", scaled(space))
        assert parametrize.is_parametrized(module)
        assert parametrize.is_parametrized(module, "weight")
        assert not parametrize.is_parametrized(module, "bias")
        assert parametrize.type_before_parametrizations(module) is space.Linear
        assert type(module).__name__ == "ParametrizedLinear"
    assert repr(ours).split("\n")[0] == repr(theirs).split("\n")[0]
    train(ours, theirs, np.random.default_rng(3).normal(size=(5, 4)))
    for module, parametrize, space in both:
        parametrize.remove_parametrizations(module, "weight")
        assert type(module) is space.Linear
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    assert_close(ours.weight.data, theirs.weight.detach().numpy())


@pytest.mark.parametrize("leave", [True, False])
def test_a_parametrized_tensor_can_be_assigned_to_and_left_as_pytorchs(leave):
    ours, theirs = nn.Linear(3, 3).double(), torch.nn.Linear(3, 3)
    copied(ours, theirs)
    value = np.arange(9.0).reshape(3, 3)
    value = value + value.T
    for module, parametrize, space, given in (
        (ours, utils.parametrize, nn, Tensor(value)),
        (theirs, torch.nn.utils.parametrize, torch.nn, torch.from_numpy(value)),
    ):
        library = "ours" if space is nn else "theirs"
        parametrize.register_parametrization(module, "weight", symmetric(space, library))
        module.weight = given
    assert_close(ours.weight.data, value)
    same_state(ours, theirs)
    utils.parametrize.remove_parametrizations(ours, "weight", leave)
    torch.nn.utils.parametrize.remove_parametrizations(theirs, "weight", leave)
    assert_close(ours.weight.data, theirs.weight.detach().numpy())


# -- functional_call --------------------------------------------------------------------------


def test_a_call_with_other_parameters_is_pytorchs_and_differentiable():
    ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Linear(4, 2)
    )
    copied(ours, theirs)
    before = {n: a.copy() for n, a in ours.state_arrays().items()}
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6, 3))
    names = ["0.weight", "3.bias", "1.running_mean"]
    given = {n: rng.normal(size=before[n].shape) for n in names}
    leaves = {n: Tensor(a.copy(), requires_grad="running" not in n) for n, a in given.items()}
    others = {
        n: torch.from_numpy(a.copy()).requires_grad_("running" not in n) for n, a in given.items()
    }
    found = utils.stateless.functional_call(ours, leaves, x)
    expected = torch.func.functional_call(theirs, others, torch.from_numpy(x))
    assert_close(found.data, expected.detach().numpy())
    np.sum(found**2).backward()
    (expected**2).sum().backward()
    for n in names:
        assert_close(leaves[n].data, others[n].detach().numpy(), n)  # statistics are followed
        if leaves[n].requires_grad:
            assert_close(leaves[n].grad.data, others[n].grad.numpy(), n)
    assert ours[0].weight.grad is None
    untouched = {n for n in before if "num_batches" not in n and n != "1.running_var"}
    for n in untouched:
        np.testing.assert_array_equal(ours.state_dict()[n], before[n])

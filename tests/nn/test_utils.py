"""``nn.utils`` by itself: errors, caches, copies, several ranks, modules as functions."""

import copy

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.errors import GradError, NonFiniteError, ShapeError
from distgrad.nn import functional as F
from distgrad.nn import utils
from distgrad.nn.utils import parametrizations, parametrize, stateless
from distgrad.nn.utils.stateless import functional_call

# -- vectors, clipping, fusing ----------------------------------------------------------------


def test_parameters_keep_their_memory_when_a_vector_is_copied_into_them():
    model = nn.Linear(3, 2)
    held = model.weight.array
    vector = np.arange(8.0, dtype=np.float32)
    utils.vector_to_parameters(vector, model.parameters())
    assert model.weight.array is held
    np.testing.assert_array_equal(held, vector[:6].reshape(2, 3))
    np.testing.assert_array_equal(utils.parameters_to_vector(model.parameters()).array, vector)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ShapeError, match=r"shape \(7,\), the parameters have 8 elements"):
        utils.vector_to_parameters(np.zeros(7), nn.Linear(3, 2).parameters())
    with pytest.raises(ShapeError, match="got no parameters"):
        utils.parameters_to_vector([])


def test_clipping_returns_a_tensor_and_refuses_what_is_not_finite():
    p = nn.Parameter(np.ones(2, np.float32))
    p.grad = Tensor(np.array([3.0, 4.0], np.float32))
    norm = utils.clip_grad_norm_([p], 1.0)
    assert norm.item() == 5.0
    assert norm.dtype == np.float32
    p.grad = Tensor(np.array([np.inf, 4.0], np.float32))
    with pytest.raises(NonFiniteError, match="the gradient norm is inf"):
        utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


def test_layers_are_fused_in_evaluation_only():
    conv, bn = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
    with pytest.raises(GradError, match="Conv2d and BatchNorm2d can be put together in evaluation"):
        utils.fuse_conv_bn_eval(conv, bn)


def test_what_has_one_format_is_left_alone():
    conv = nn.Conv2d(2, 3, 3)
    assert utils.convert_conv2d_weight_memory_format(conv, None) is conv
    assert utils.convert_conv3d_weight_memory_format(conv, None) is conv
    assert utils.skip_init(nn.Linear, 3, 2, bias=False).bias is None


# -- norms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_a_norm_is_put_on_and_taken_off_once(name):
    layer = nn.Linear(3, 2)
    put, take = getattr(utils, name), getattr(utils, f"remove_{name}")
    with pytest.raises(ShapeError, match="'weight' of Linear has none"):
        take(layer)
    put(layer)
    with pytest.raises(ShapeError, match="'weight' of Linear has it already"):
        put(layer)
    take(layer)
    assert [n for n, _ in layer.named_parameters()] == ["bias", "weight"]
    assert not layer._hooks
    assert layer.statistics == ()
    with pytest.raises(ShapeError, match=r"Linear has no parameter 'wight', only \['bias', 'wei"):
        put(layer, "wight")


def test_spectral_norms_settings_are_checked():
    with pytest.raises(ShapeError, match="n_power_iterations=0 must be at least 1"):
        utils.spectral_norm(nn.Linear(3, 2), n_power_iterations=0)
    with pytest.raises(ShapeError, match="n_power_iterations=0 must be at least 1"):
        parametrizations.spectral_norm(nn.Linear(3, 2), n_power_iterations=0)
    with pytest.raises(ShapeError, match=r"shape \(2, 3\) is no matrix with an axis dim=2"):
        parametrizations.spectral_norm(nn.Linear(3, 2), dim=2)
    with pytest.raises(ShapeError, match="BatchNorm1d has running statistics of its own"):
        utils.spectral_norm(nn.BatchNorm1d(3))


def test_a_spectral_norm_is_about_one():
    layer = parametrizations.spectral_norm(nn.Linear(6, 4), n_power_iterations=20)
    assert np.linalg.svd(layer.weight.array, compute_uv=False)[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["spectral_norm", "weight_norm"])
@pytest.mark.parametrize("space", [utils, parametrizations])
def test_any_number_of_ranks_gives_the_same_bits(space, name):
    def train():
        dg.init(shards=4)
        dg.manual_seed(3)
        rng = np.random.default_rng(1)
        x = rng.normal(size=(22, 3)).astype(np.float32)
        y = rng.normal(size=(22, 2)).astype(np.float32)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        for layer in (model[0], model[2]):
            getattr(space, name)(layer)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        ddp = dg.DistributedDataParallel(model)
        loader = dg.data.DataLoader(dg.data.ArrayDataset(x, y), global_batch_size=11)
        for _ in range(3):
            for batch in loader:
                optimizer.zero_grad()
                for a, b in batch.shards:
                    ddp.backward(F.mse_loss(model(a), b))
                optimizer.step()
        return nn.state_sha256(model.state_dict())

    one = simulated(1, train)[0]
    for size in (2, 3):
        assert simulated(size, train) == [one] * size


# -- parametrize ------------------------------------------------------------------------------


class Doubled(nn.Module):
    calls = 0

    def forward(self, x):
        Doubled.calls += 1
        return 2 * x


def test_a_cached_tensor_is_computed_once():
    layer = parametrize.register_parametrization(nn.Linear(3, 2), "weight", Doubled())
    before = Doubled.calls
    with parametrize.cached():
        first = layer.weight
        with parametrize.cached():
            assert layer.weight is first
    assert Doubled.calls == before + 1
    assert layer.weight is not first


def test_what_is_not_there_or_changes_shape_is_refused():
    class Cut(nn.Module):
        def forward(self, x):
            return x[:1]

    with pytest.raises(ShapeError, match=r"Linear has no parameter or buffer 'wight', only \['wei"):
        parametrize.register_parametrization(nn.Linear(3, 2), "wight", Doubled())
    layer = nn.Linear(3, 2)
    with pytest.raises(ShapeError, match=r"float32 of \(1, 3\) out of float32 of \(2, 3\); pass"):
        parametrize.register_parametrization(layer, "weight", Cut())
    assert not parametrize.is_parametrized(layer)
    assert parametrize.register_parametrization(
        layer, "weight", Cut(), unsafe=True
    ).weight.shape == (
        1,
        3,
    )
    with pytest.raises(ShapeError, match="'bias' of ParametrizedLinear is not parametrized"):
        parametrize.remove_parametrizations(layer, "bias")
    with pytest.raises(ShapeError, match=r"Cut has no right_inverse\(value\)"):
        layer.weight = Tensor(np.zeros((2, 3), np.float32))
    normed = parametrizations.weight_norm(nn.Linear(3, 2))
    with pytest.raises(ShapeError, match="'weight' is computed from 2 tensors"):
        parametrize.remove_parametrizations(normed, "weight", leave_parametrized=False)


def test_a_parametrized_module_is_copied_and_trained_apart():
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    other = copy.deepcopy(layer)
    np.testing.assert_array_equal(layer.weight.array, other.weight.array)
    other.parametrizations.weight.original0.array[...] *= 2
    np.testing.assert_allclose(other.weight.array, 2 * layer.weight.array, rtol=1e-6)
    assert [n for n, _ in layer.named_parameters()] == [
        "bias",
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    ]


def test_a_buffer_may_be_parametrized():
    bn = parametrize.register_parametrization(nn.BatchNorm1d(3), "running_mean", Doubled())
    assert "parametrizations.running_mean.original" in dict(bn.named_buffers())
    bn.parametrizations.running_mean.original.array[...] = 1
    assert bn.running_mean.array.tolist() == [2, 2, 2]


def test_parametrizations_are_transferred_with_their_values():
    source = parametrizations.weight_norm(nn.Linear(3, 2))
    target = parametrize.transfer_parametrizations_and_params(source, nn.Linear(3, 2))
    np.testing.assert_array_equal(target.weight.array, source.weight.array)
    with pytest.raises(ShapeError, match="Linear has no parametrization to be transferred"):
        parametrize.transfer_parametrizations_and_params(nn.Linear(2, 2), target)


def test_orthogonals_settings_are_checked():
    with pytest.raises(ShapeError, match="orthogonal_map='qr' must be one of matrix_exp, cayley"):
        parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map="qr")
    with pytest.raises(ShapeError, match=r"a weight of shape \(3,\) is no matrix"):
        parametrizations.orthogonal(nn.LayerNorm(3))


# -- functional_call --------------------------------------------------------------------------


def tied():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    return model


def test_gradients_by_functional_call_are_those_of_the_module():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = np.random.default_rng(0).normal(size=(5, 3))
    params = {n: p.detach() for n, p in model.named_parameters()}

    def loss(params):
        return np.mean(functional_call(model, params, x) ** 2)

    found = dg.grad(loss)(params)
    np.mean(model(x) ** 2).backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(found[name].array, p.grad.array, rtol=1e-12)
    assert all(isinstance(p, nn.Parameter) for p in model.parameters())


def test_second_derivatives_go_through_functional_call():
    model = nn.Linear(2, 1, bias=False).double()
    x = np.array([[1.0, 2.0]])

    def loss(w):
        return np.sum(functional_call(model, {"weight": w}, (x,)) ** 4)

    w = np.array([[0.5, 0.25]])
    found = dg.hessian(loss)(w)
    np.testing.assert_allclose(found.array.reshape(2, 2), 12 * np.outer(x, x), rtol=1e-12)


def test_a_shared_parameter_is_replaced_under_all_its_names():
    model, x = tied(), np.ones((1, 3), np.float32)
    zero = Tensor(np.zeros((3, 3), np.float32))
    found = functional_call(model, {"1.weight": zero}, x)
    np.testing.assert_allclose(found.array[0], model[1].bias.array)
    np.testing.assert_array_equal(model(x).shape, (1, 3))
    with pytest.raises(ShapeError, match=r"'0.weight' and '1.weight' are one"):
        functional_call(model, {"0.weight": zero, "1.weight": Tensor(zero.array + 1)}, x)
    apart = {"0.weight": zero, "1.weight": Tensor(zero.array + 1)}
    functional_call(model, apart, x, tie_weights=False)


@pytest.mark.parametrize(
    ("given", "strict", "message"),
    [
        ({"weight": np.zeros((3, 2))}, False, r"'weight' has the shape \(2, 3\) in Linear; got"),
        ({"weight": np.zeros((2, 3))}, True, r"missing \['bias'\], unexpected nothing"),
        ({"wight": np.zeros((2, 3))}, True, r"unexpected \['wight'\]"),
        (
            ({"bias": np.zeros(2)}, {"bias": np.ones(2)}),
            False,
            r"\['bias'\] stand in several dictionaries",
        ),
    ],
)
def test_what_does_not_fit_a_functional_call_is_named(given, strict, message):
    with pytest.raises(ShapeError, match=message):
        functional_call(nn.Linear(3, 2), given, np.ones((1, 3)), strict=strict)


def test_an_error_inside_a_functional_call_leaves_the_module_as_it_was():
    model = nn.Linear(3, 2)
    held = model.weight
    with pytest.raises(ShapeError):
        functional_call(model, {"weight": np.zeros((2, 3), np.float32)}, np.ones((1, 5)))
    assert model.weight is held


def test_the_states_of_several_models_are_stacked():
    models = [nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(3)]
    params, buffers = stateless.stack_module_state(models)
    assert params["0.weight"].shape == (3, 2, 3)
    assert params["0.weight"].requires_grad
    assert buffers["1.running_mean"].shape == (3, 2)
    np.testing.assert_array_equal(params["0.bias"].data[2], models[2][0].bias.data)
    with pytest.raises(ShapeError, match=r"the models differ: '0.weight' is"):
        stateless.stack_module_state([nn.Sequential(nn.Linear(3, n)) for n in (2, 4)])
    with pytest.raises(ShapeError, match="got no models"):
        stateless.stack_module_state([])

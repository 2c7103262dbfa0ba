"""DistributedDataParallel as PyTorch's hands use it: called, asked for the model's names."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import CommError, GradError, MismatchError, ShapeError
from distgrad.nn import functional as F
from distgrad.utils.data import DataLoader, TensorDataset

PYTORCHS = {
    "device_ids": [0],
    "output_device": 0,
    "broadcast_buffers": False,
    "find_unused_parameters": True,
    "gradient_as_bucket_view": True,
    "static_graph": True,
    "process_group": None,
    "bucket_cap_mb": 25,
}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))


def made(**settings):
    dg.manual_seed(0)
    return dg.DistributedDataParallel(network(), **settings)


def data(n: int = 29) -> TensorDataset:
    i = np.arange(n)
    return TensorDataset(np.sin(np.outer(i + 1, np.arange(1, 5))).astype(np.float32), (i * i) % 3)


def test_calling_it_calls_the_model():
    def body():
        ddp = made()
        x = dg.Tensor(np.ones((2, 4), np.float32))
        ddp.eval()
        np.testing.assert_array_equal(ddp(x).array, ddp.module(x).array)
        ddp.module.forward = lambda x, scale: x * scale
        assert ddp(x, scale=3).array.max() == 3

    alone(body)


def test_every_name_of_the_model_is_its_own():
    def body():
        ddp = made()
        assert [n for n, _ in ddp.named_parameters()] == [
            n for n, _ in ddp.module.named_parameters()
        ]
        assert list(map(id, ddp.parameters())) == list(map(id, ddp.module.parameters()))
        assert ddp.state_dict().keys() == network().state_dict().keys()
        assert len(list(ddp.buffers())) == 3
        assert ddp.training
        assert ddp.train(False) is ddp
        assert not any(m.training for m in ddp.module.modules())
        assert ddp.train() is ddp
        assert ddp.eval() is ddp
        assert not ddp.training
        ddp.module.extra = 7
        assert ddp.extra == 7
        with pytest.raises(AttributeError, match="nothing_of_this_name"):
            ddp.nothing_of_this_name  # noqa: B018 - asking is the test
        assert "(module): Sequential(" in repr(ddp)

    alone(body)


def test_zero_grad_forgets_the_models_gradients():
    def body():
        ddp = made()
        ddp(np.ones((3, 4), np.float32)).sum().backward()
        assert ddp.module[0].weight.grad is not None
        ddp.zero_grad()
        assert ddp.module[0].weight.grad is None

    alone(body)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_states_with_and_without_pytorchs_prefix_are_loaded(prefix):
    def body():
        ddp = made()
        dg.manual_seed(9)
        other = network().state_dict()
        ddp.load_state_dict({prefix + k: v for k, v in other.items()})
        assert nn.state_sha256(ddp.state_dict()) == nn.state_sha256(other)

    alone(body)


def test_a_model_with_a_layer_called_module_keeps_its_names():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(2, 2)

        def forward(self, x):
            return self.module(x)

    def body():
        ddp = dg.DistributedDataParallel(Outer())
        state = {k: np.full_like(v, 2) for k, v in ddp.state_dict().items()}
        assert set(state) == {"module.weight", "module.bias"}
        ddp.load_state_dict(state)
        assert ddp.module.module.weight.array.min() == 2
        with pytest.raises(ShapeError, match="weight"):
            ddp.load_state_dict({"weight": state["module.weight"]})

    alone(body)


def trained(ranks, **settings):
    def body():
        dg.init()
        ddp = made(**settings)
        optimizer = optim.SGD(ddp.parameters(), lr=0.2)
        for x, y in DataLoader(data(), 9, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(ddp(x), y).backward()
            optimizer.step()
        return nn.state_sha256(ddp.state_dict())

    return simulated(ranks, body)


@pytest.mark.parametrize("name", PYTORCHS)
def test_settings_of_pytorch_change_no_bit(name):
    assert trained(3, **{name: PYTORCHS[name]}) == trained(3)


def test_device_ids_may_stand_in_their_place():
    alone(lambda: dg.DistributedDataParallel(network(), [0], 0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_sync": False}, "init_sync=False: the ranks' models would differ"),
        ({"process_group": object()}, "summed over all ranks of the world; leave it out"),
    ],
)
def test_settings_that_would_change_results_are_refused(settings, message):
    with pytest.raises(CommError, match=message):
        alone(lambda: made(**settings))


def test_a_wrapper_is_not_wrapped_again():
    with pytest.raises(CommError, match="is a DistributedDataParallel already"):
        alone(lambda: dg.DistributedDataParallel(made()))


def gan(ranks, shards=None):
    """Two backward passes of the discriminator for each batch, as DCGAN's users write them."""

    def body():
        dg.init(shards=shards)
        dg.manual_seed(3)
        g, d = nn.Linear(2, 4).double(), nn.Linear(4, 1).double()
        g_ddp, d_ddp = dg.DistributedDataParallel(g), dg.DistributedDataParallel(d)
        opt_g, opt_d = optim.SGD(g.parameters(), lr=0.1), optim.SGD(d.parameters(), lr=0.1)
        images = data().arrays[0].astype(np.float64)
        for x, z in DataLoader(TensorDataset(images, images[:, :2].copy()), 9):
            opt_d.zero_grad()
            F.softplus(-d_ddp(x)).mean().backward()
            fake = g_ddp(z)
            F.softplus(d_ddp(fake.detach())).mean().backward()
            opt_d.step()
            opt_g.zero_grad()
            d.requires_grad_(False)
            F.softplus(-d_ddp(fake)).mean().backward()
            d.requires_grad_(True)
            opt_g.step()
        return [p.array.copy() for m in (g, d) for p in m.parameters()]

    return simulated(ranks, body)


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_several_backward_passes_of_a_batch_add_up_as_in_pytorch(ranks):
    (one,) = gan(1)
    for found in gan(ranks):
        for a, b in zip(found, one, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11)


def test_under_the_contract_they_are_refused_as_before():
    with pytest.raises(GradError, match=r"second backward pass in shard .*no_sync"):
        gan(2, shards=2)


def test_join_lets_loops_of_equal_length_pass():
    def body():
        dg.init()
        ddp = made()
        optimizer = optim.SGD(ddp.parameters(), lr=0.1)
        with ddp.join():
            for x, y in DataLoader(data(), 9):
                optimizer.zero_grad()
                F.cross_entropy(ddp(x), y).backward()
                optimizer.step()

    simulated(3, body)


def test_join_names_ranks_whose_own_loops_end_earlier():
    def body():
        rank = dg.init(timeout=5).rank
        ddp = made(check_every=0)
        with ddp.join():
            for _ in range(2 + rank):
                F.cross_entropy(ddp(np.ones((3, 4), np.float32)), np.zeros(3, int)).backward()

    with pytest.raises(MismatchError, match=r"the end of ddp.join\(\), where a dg DataLoader"):
        simulated(2, body)


def test_no_sync_accumulates_in_a_pytorch_style_loop():
    def body(accumulate):
        dg.init()
        dg.manual_seed(0)
        model = network().double()
        ddp = dg.DistributedDataParallel(network().double())
        ddp.load_state_dict(model.state_dict())
        ddp.eval()
        x = data(24).arrays[0].astype(np.float64)
        y = data(24).arrays[1]
        if accumulate:
            loader = DataLoader(TensorDataset(x, y), 12)
            for i, (a, b) in enumerate(loader):
                if i < len(loader) - 1:
                    with ddp.no_sync():
                        (F.cross_entropy(ddp(a), b) / 2).backward()
                else:
                    (F.cross_entropy(ddp(a), b) / 2).backward()
        else:
            for a, b in DataLoader(TensorDataset(x, y), 24):
                F.cross_entropy(ddp(a), b).backward()
        return ddp.module[0].weight.grad.array.copy()

    whole = simulated(1, lambda: body(False))[0]
    for ranks in (1, 2, 3):
        for found in simulated(ranks, lambda: body(True)):
            np.testing.assert_allclose(found, whole, rtol=1e-10, atol=1e-14)


def test_a_model_can_still_be_copied():
    def body():
        ddp = made()
        other = copy.deepcopy(ddp.module)
        assert nn.state_sha256(other.state_dict()) == nn.state_sha256(ddp.state_dict())

    alone(body)

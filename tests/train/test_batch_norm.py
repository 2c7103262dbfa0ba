"""update_bn: running statistics become the mean over a loader's batches, all else stays."""

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn
from distgrad.errors import ShapeError


def make_model(momentum=0.1):
    rng = np.random.default_rng(3)
    norm = nn.BatchNorm1d(2, momentum=momentum)
    model = nn.Sequential(nn.Linear(3, 2), norm, nn.Linear(2, 4))
    for p in model.parameters():
        p.data[...] = rng.normal(size=p.shape)
    return model


def batches(count, shape=(6, 3)):
    rng = np.random.default_rng(1)
    return [rng.normal(size=shape).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("attached", [False, True])
def test_statistics_become_the_mean_over_all_batches(attached, momentum):
    model = make_model(momentum)
    if attached:
        dg.DistributedDataParallel(model)
    observer = model[1]._observer
    model.eval()
    model[1].running_var.data[...] = np.nan
    given = batches(4)
    dg.update_bn([(b, "label") for b in given], model)
    inner = [b @ model[0].weight.data.T + model[0].bias.data for b in given]
    state = model.state_dict()
    mean = np.mean([h.mean(axis=0) for h in inner], axis=0)
    var = np.mean([h.var(axis=0, ddof=1) for h in inner], axis=0)
    np.testing.assert_allclose(state["1.running_mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["1.running_var"], var, rtol=1e-4)
    assert state["1.num_batches_tracked"] == 4
    assert not model.training
    assert model[1].momentum == momentum
    assert model[1]._observer is observer


def test_a_layer_called_twice_a_batch_takes_the_mean_over_its_calls():
    model = make_model()
    norm = nn.BatchNorm1d(3)
    twice = nn.Sequential(norm, norm, model)
    x = batches(1)[0] + 5
    dg.update_bn([x], twice)
    first = x.mean(axis=0)  # the second call sees a mean of zero
    np.testing.assert_allclose(norm.running_mean.data, first / 2, rtol=1e-5)


def test_an_averages_statistics_are_renewed_and_the_models_stay():
    model = make_model()
    averaged = dg.optim.AveragedModel(model)
    averaged.update_parameters(model)
    dg.update_bn(batches(2), averaged)
    assert averaged.module.state_dict()["1.num_batches_tracked"] == 2
    assert model.state_dict()["1.num_batches_tracked"] == 0


@pytest.mark.parametrize("attached", [False, True])
def test_instance_norms_statistics_follow_as_in_training(attached):
    given = batches(2, (4, 3, 5))
    layer, alone = (nn.InstanceNorm1d(3, 1e-5, 0.3, track_running_stats=True) for _ in range(2))
    for norm in (layer, alone):
        norm.running_mean.data[...] = 7
    model = nn.Sequential(layer, nn.BatchNorm1d(3, affine=True))
    if attached:
        dg.DistributedDataParallel(model)
    dg.update_bn(given, model)
    for x in given:
        alone(x)
    assert model[1].num_batches_tracked.data == 2
    assert layer.running_mean.data.tolist() == alone.running_mean.data.tolist()


def test_a_batch_of_shards_is_refused():
    data = dg.data.ArrayDataset(np.ones((8, 3), np.float32), np.zeros(8))
    model = make_model()
    with pytest.raises(ShapeError, match="update_bn takes batches of arrays; got a Batch"):
        dg.update_bn(dg.data.DataLoader(data, 4), model)
    shards = (shard for batch in dg.data.DataLoader(data, 4) for shard in batch.shards)
    dg.update_bn(shards, model)
    assert model.state_dict()["1.num_batches_tracked"] == 2


def test_a_model_without_statistics_is_not_run():
    dg.update_bn(iter(()), nn.Linear(2, 2))

"""update_bn: running statistics become the mean over a loader's batches, all else stays."""

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import nn
from distgrad.errors import ShapeError


def make_model(momentum=0.1):
    rng = np.random.default_rng(3)
    norm = nn.BatchNorm1d(2, momentum=momentum)
    model = nn.Sequential(nn.Linear(3, 2), norm, nn.Linear(2, 4))
    for p in model.parameters():
        p.array[...] = rng.normal(size=p.shape)
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
    model[1].running_var.array[...] = np.nan
    given = batches(4)
    dg.update_bn([(b, "label") for b in given], model)
    inner = [b @ model[0].weight.array.T + model[0].bias.array for b in given]
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
    np.testing.assert_allclose(norm.running_mean.array, first / 2, rtol=1e-5)


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
        norm.running_mean.array[...] = 7
    model = nn.Sequential(layer, nn.BatchNorm1d(3, affine=True))
    if attached:
        dg.DistributedDataParallel(model)
    dg.update_bn(given, model)
    for x in given:
        alone(x)
    assert model[1].num_batches_tracked.array == 2
    assert layer.running_mean.array.tolist() == alone.running_mean.array.tolist()


def sharded(count=11):
    x = np.random.default_rng(5).normal(size=(count, 3)).astype(np.float32)
    return x, dg.data.DataLoader(dg.data.ArrayDataset(x, np.zeros(count)), 4)


def renewed():
    dg.init(shards=4)
    model = make_model()
    dg.DistributedDataParallel(model)
    observer = model[1]._observer
    dg.update_bn(sharded()[1], model)
    assert model[1]._observer is observer
    return model.state_dict()


def test_a_loaders_batches_are_passed_by_all_ranks_together():
    (state,) = simulated(1, renewed)
    assert state["1.num_batches_tracked"] == 3  # the last has 3 samples: one shard gets none
    first = make_model()[0]
    inner = sharded()[0] @ first.weight.array.T + first.bias.array
    means = [inner[i : i + 4].mean(axis=0) for i in (0, 4, 8)]
    np.testing.assert_allclose(state["1.running_mean"], np.mean(means, axis=0), rtol=1e-4)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_loaders_statistics_have_the_same_bits_on_any_number_of_ranks(size):
    (one,) = simulated(1, renewed)
    for state in simulated(size, renewed):
        assert {n: a.tobytes() for n, a in state.items()} == {
            n: a.tobytes() for n, a in one.items()
        }


@pytest.mark.mpi
def test_a_loaders_statistics_are_those_of_one_rank_under_mpi():
    found, (one,) = alone(renewed), simulated(1, renewed)
    assert {n: a.tobytes() for n, a in found.items()} == {n: a.tobytes() for n, a in one.items()}


def test_a_shard_without_its_batch_is_refused():
    _, loader = sharded()
    shards = (shard for batch in loader for shard in batch.shards)
    with pytest.raises(ShapeError, match=r"which are others on each rank.* the DataLoader itself"):
        dg.update_bn(shards, make_model())


def test_a_batch_of_no_arrays_is_refused():
    with pytest.raises(ShapeError, match="a DataLoader, or batches of arrays; got a str"):
        dg.update_bn(["x"], make_model())


def test_a_model_without_statistics_is_not_run():
    dg.update_bn(iter(()), nn.Linear(2, 2))

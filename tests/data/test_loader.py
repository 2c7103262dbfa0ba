"""DataLoader: one order of samples and one cut into shards, on any number of ranks."""

from itertools import chain

import numpy as np
import pytest

from distgrad import no_grad
from distgrad.autograd.stream import generator, manual_seed
from distgrad.comm import Communicator, connect, run_ranks
from distgrad.comm.worlds.local import LocalTransport
from distgrad.data import ArrayDataset, DataLoader, permutation
from distgrad.errors import DataError
from distgrad.parallel import World, current_shard

SHARDS = 4


def dataset(n):
    labels = np.arange(n)
    return ArrayDataset(np.stack([labels * 10, labels * 10 + 1], axis=1), labels)


def alone(shards=SHARDS):
    return World(Communicator(LocalTransport()), shards)


def make(n, size, world=None, **settings):
    return DataLoader(dataset(n), size, world=world or alone(), **settings)


def epoch(loader):
    """Return {(step, shard): samples} of the ranks' own shards over one epoch."""
    seen = {}
    with no_grad():
        for batch in loader:
            for x, y in batch.shards:
                position = current_shard()
                assert position.step == batch.step
                assert position.count == len(y)
                assert position.total == batch.total
                np.testing.assert_array_equal(x, np.stack([y * 10, y * 10 + 1], axis=1))
                if position.empty:  # this rank has no sample of the batch
                    continue
                assert (batch.step, position.shard) not in seen
                seen[batch.step, position.shard] = y.tolist()
    return seen


def epochs_of_world(size, n, batch_size, epochs=2, **settings):
    """Return the union over the ranks of a simulated world, each shard from exactly one rank."""

    def body():
        loader = make(n, batch_size, World(Communicator(connect()), SHARDS), **settings)
        return [epoch(loader) for _ in range(epochs)]

    union = {}
    for found in run_ranks(size, body):
        for one in found:
            assert not union.keys() & one.keys()
            union |= one
    return union


CASES = {
    "even": (24, 8, {}),
    "uneven last batch": (27, 8, {}),
    "last batch smaller than the shards": (18, 8, {}),
    "drop_last": (27, 8, {"drop_last": True}),
    "shards of unequal size": (20, 7, {}),
    "one batch": (6, 50, {}),
}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_every_world_reads_the_same_shards(name, shuffle):
    n, batch_size, settings = CASES[name]
    settings = {**settings, "shuffle": shuffle, "seed": 6}
    worlds = [epochs_of_world(size, n, batch_size, **settings) for size in (1, 2, 3, 4)]
    assert all(w == worlds[0] for w in worlds[1:])


@pytest.mark.parametrize("name", CASES)
def test_every_sample_comes_exactly_once_an_epoch(name):
    n, batch_size, settings = CASES[name]
    loader = make(n, batch_size, shuffle=True, **settings)
    for _ in range(3):
        samples = list(chain.from_iterable(epoch(loader).values()))
        assert len(samples) == len(set(samples))
        assert len(samples) == (n // batch_size * batch_size if settings else n)


def test_a_batch_is_cut_into_consecutive_pieces_the_first_ones_longer():
    seen = epoch(make(11, 6))
    assert [seen[0, s] for s in range(4)] == [[0, 1], [2, 3], [4], [5]]
    assert [seen[1, s] for s in range(4)] == [[6, 7], [8], [9], [10]]


def test_a_last_batch_smaller_than_the_shards_leaves_the_last_ones_out():
    seen = epoch(make(10, 8))
    assert [k for k in seen if k[0] == 1] == [(1, 0), (1, 1)]


def test_each_epoch_has_the_order_of_its_seed_and_number():
    loader = make(30, 10, shuffle=True, seed=4)
    for number in range(3):
        samples = list(chain.from_iterable(epoch(loader).values()))
        assert samples == permutation(30, seed=4, epoch=number).tolist()


def test_steps_are_numbered_over_all_epochs():
    loader = make(11, 4)
    assert len(loader) == 3
    assert sorted({step for step, _ in epoch(loader)}) == [0, 1, 2]
    assert sorted({step for step, _ in epoch(loader)}) == [3, 4, 5]
    assert len(make(11, 4, drop_last=True)) == 2


def test_batches_know_their_number_of_samples_on_all_ranks():
    def body():
        loader = make(11, 4, World(Communicator(connect()), SHARDS))
        with no_grad():
            return [batch.total for batch in loader for _ in [list(batch.shards)]]

    assert run_ranks(3, body) == [[4, 4, 3]] * 3


def test_a_batch_can_be_read_twice():
    with no_grad():
        batch = next(iter(make(8, 8)))
        first, second = [[y.tolist() for _, y in batch.shards] for _ in range(2)]
    assert first == second


def nested(loader):
    for _ in loader:
        list(loader)


def side_by_side(loader):
    for _ in zip(loader, loader, strict=True):
        pass


def peek(loader):
    for _ in loader:
        next(iter(loader))


@pytest.mark.parametrize("use", [nested, side_by_side, peek])
def test_a_loader_is_looped_over_by_one_loop_at_a_time(use):
    """Two would share out the batches in silence, and never end if one is in the other."""
    loader = make(12, 4)
    with pytest.raises(DataError, match=r"another loop .* Make a second DataLoader over the same"):
        use(loader)


def test_outside_a_batch_there_is_no_shard():
    loader = make(8, 4)
    epoch(loader)
    assert current_shard() is None
    with no_grad():
        for batch in loader:
            for _ in batch.shards:
                break
    assert current_shard() is None


def test_random_numbers_of_a_shard_do_not_depend_on_the_number_of_ranks():
    def body():
        manual_seed(9)
        loader = make(12, 4, World(Communicator(connect()), SHARDS))
        found = {}
        with no_grad():
            for batch in loader:
                for _ in batch.shards:
                    key = (batch.step, current_shard().shard)
                    found[key] = [generator().random(), generator().random()]
        return found

    worlds = [{k: v for one in run_ranks(n, body) for k, v in one.items()} for n in (1, 2, 3, 4)]
    assert all(w == worlds[0] for w in worlds[1:])
    drawn = list(chain.from_iterable(worlds[0].values()))
    assert len(set(drawn)) == len(drawn) == 24


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_run_cut_anywhere_continues_with_the_next_batch(stop, drop_last):
    settings = {"shuffle": True, "seed": 2, "drop_last": drop_last}
    n, size = (19, 5) if not drop_last else (21, 5)  # 4 batches an epoch
    straight = make(n, size, **settings)
    whole = [epoch(straight) for _ in range(3)]
    whole = {k: v for one in whole for k, v in one.items()}

    cut, done, state = make(n, size, **settings), {}, None
    with no_grad():
        while state is None:
            for batch in cut:
                for _, y in batch.shards:
                    done[batch.step, current_shard().shard] = y.tolist()
                if batch.step + 1 == stop:
                    state = cut.state_dict()
                    break

    resumed = make(n, size, **settings)
    resumed.load_state_dict(state)
    while len(done) < len(whole):
        rest = epoch(resumed)
        assert not done.keys() & rest.keys()
        done |= rest
    assert done == whole


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("seed", {"seed": 8}),
        ("shuffle", {"shuffle": False}),
        ("global_batch_size", {"size": 6}),
        ("drop_last", {"drop_last": True}),
        ("samples", {"n": 21}),
    ],
)
def test_a_state_of_another_order_is_refused(name, other):
    settings = {"n": 20, "size": 5, "shuffle": True, "seed": 7, "drop_last": False}
    state = make(**settings).state_dict()
    loader = make(**{**settings, **other})
    with pytest.raises(DataError, match=f"read its data with {name}=.*, this one has {name}="):
        loader.load_state_dict({**state, "epoch": 5})
    assert loader.epoch == 0


def test_any_number_of_arrays_makes_a_sample():
    for count in (1, 2, 3):
        arrays = [np.arange(8) + 100 * i for i in range(count)]
        loader = DataLoader(ArrayDataset(*arrays), 8, world=alone())
        with no_grad():
            shards = [shard for batch in loader for shard in batch.shards]
        assert [len(shard) for shard in shards] == [count] * 4
        for i in range(count):
            assert np.concatenate([shard[i] for shard in shards]).tolist() == arrays[i].tolist()


def test_a_data_set_read_sample_by_sample_gives_the_same():
    class Slow:
        def __len__(self):
            return 11

        def __getitem__(self, i):
            return np.array([i * 10, i * 10 + 1]), i

    loader = DataLoader(Slow(), 4, shuffle=True, seed=1, world=alone())
    assert epoch(loader) == epoch(make(11, 4, shuffle=True, seed=1))


def test_the_arrays_are_the_batchs_own():
    data = dataset(8)
    with no_grad():
        for x, _ in next(iter(DataLoader(data, 8, world=alone()))).shards:
            x[...] = -1
    assert data.arrays[0].min() == 0


class Empty:
    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError(index)


def test_an_empty_data_set_is_refused():
    with pytest.raises(DataError, match="the data set is empty; check the path or the filter"):
        DataLoader(Empty(), 8, world=alone())


@pytest.mark.parametrize("size", [3, 0, -1])
def test_a_batch_smaller_than_the_shards_is_refused(size):
    message = rf"global_batch_size={size} is smaller than the number of logical shards, 4: use a"
    with pytest.raises(DataError, match=message):
        make(20, size)


def test_without_shards_the_ranks_are_the_limit():
    def body():
        make(20, 2, World(Communicator(connect()), None))

    with pytest.raises(DataError, match="number of logical shards, 3: use a batch of at least 3"):
        run_ranks(3, body)


def test_dropping_the_only_batch_is_refused():
    with pytest.raises(DataError, match="has 7 samples, fewer than global_batch_size=8, and drop"):
        make(7, 8, drop_last=True)

"""Functions that draw, or that look things up by what the step has computed, inside captured ones.

The registry's walk gives ops their indices as arrays; users give Tensors, and draw.
"""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad.nn import functional as F

CALLS = 5  # the first, second and fourth are recorded, the others replayed
T = dg.tensor

LOOKED_UP = {
    "bool index": lambda x, i: T(x)[T(x) > 0.5].sum(),
    "cross_entropy": lambda x, i: F.cross_entropy(T(x), T(x).argmax(1)),
    "cdist": lambda x, i: dg.cdist(T(x), T(x)[1:], 1.0),
    "embedding": lambda x, i: F.embedding(T(i), T(x)),
    "embedding_bag": lambda x, i: F.embedding_bag(T(i)[:, 0], T(x), T([0, 2])),
    "gather": lambda x, i: T(x).gather(1, T(x).argmax(1, keepdim=True)),
    "index": lambda x, i: T(x)[dg.arange(3), T(i)[:, 0]],
    "index_add": lambda x, i: T(x).index_add(0, T(i)[:, 0], T(x)),
    "index_copy": lambda x, i: T(x).index_copy(0, T(i)[:, 0], T(x)),
    "index_fill": lambda x, i: T(x).index_fill(0, T(i)[:2, 0], 1.0),
    "index_put": lambda x, i: T(x).index_put((T(i)[:, 0],), T(x)[0]),
    "index_select": lambda x, i: T(x).index_select(0, T(i)[:, 0]),
    "kthvalue": lambda x, i: T(x).kthvalue(2).values,
    "masked_fill": lambda x, i: T(x).masked_fill(T(x) > 0.5, 0.0),
    "masked_fill_": lambda x, i: (T(x) * 1).masked_fill_(T(x) > 0.5, 0.0),
    "ndim": lambda x, i: T(x) * np.ndim(T(x)) + np.shape(T(x))[0] + np.size(T(x)),
    "new_full": lambda x, i: T(x) + T(x).new_full((3, 4), 2.0) + T(x).new_zeros(3, 4),
    "nonzero": lambda x, i: T(x)[:, dg.nonzero(T(x)[0] > 0.5)[0]],
    "one_hot": lambda x, i: F.one_hot(T(i), 4),
    "pdist": lambda x, i: F.pdist(T(x)),
    "repeat_interleave": lambda x, i: T(x).repeat_interleave(T(i)[0] + 1, dim=0).sum(0),
    "repeat_interleave by an argument": lambda x, i: T(x).repeat_interleave(T(i)[:1, 0], 0).sum(0),
    "put": lambda x, i: T(x).put(T(i), T(x)[0, :3]),
    "scatter": lambda x, i: T(x).scatter(1, T(i), T(x)),
    "scatter of a number": lambda x, i: T(x).scatter(1, T(i), 2.5),
    "scatter_add": lambda x, i: T(x).scatter_add(1, T(i), T(x)),
    "searchsorted": lambda x, i: dg.searchsorted(T(x)[0].sort().values, T(x)),
    "split into one": lambda x, i: dg.split(T(x), 4, 1)[0].sum(1),
    "sort": lambda x, i: T(x).sort(dim=1, descending=True).values,
    "take": lambda x, i: dg.take(T(x), T(i)),
    "take_along_dim": lambda x, i: dg.take_along_dim(T(x), T(i), 1),
    "topk": lambda x, i: T(x).topk(2).indices,
    "trapezoid": lambda x, i: dg.trapezoid(T(x), dx=0.5, dim=0),
    "unbind": lambda x, i: T(x).unbind(1)[2] * T(x).unbind(0)[0][1],
}
DRAWN = {
    "bernoulli": lambda x, i: dg.bernoulli(T(x)),
    "bernoulli_": lambda x, i: T(x).clone().bernoulli_(T(x)),
    "binomial": lambda x, i: dg.binomial(T(i).float() * 2, T(x)[:, :1]),
    "cauchy_": lambda x, i: T(x).clone().cauchy_(),
    "dg.random": lambda x, i: dg.random.normal((3, 4)) * T(x) + dg.random.uniform((3, 4)),
    "dropout": lambda x, i: F.dropout(T(x), 0.5),
    "exponential_": lambda x, i: T(x).clone().exponential_(2.0),
    "geometric_": lambda x, i: T(x).clone().geometric_(0.3),
    "gumbel_softmax": lambda x, i: F.gumbel_softmax(T(x), hard=True),
    "log_normal_": lambda x, i: T(x).clone().log_normal_(),
    "multinomial": lambda x, i: dg.multinomial(T(x), 2),
    "normal": lambda x, i: dg.normal(T(x), T(x)),
    "normal_": lambda x, i: T(x).clone().normal_(1.0, 2.0),
    "poisson": lambda x, i: dg.poisson(20 * T(x)),
    "rand": lambda x, i: dg.rand(3, 4) * T(x) + dg.rand_like(T(x)),
    "randint": lambda x, i: T(x)[dg.randint(3, (5,))],
    "randn": lambda x, i: dg.randn(3, 4) * T(x) + dg.randn_like(T(x)),
    "random_": lambda x, i: T(x).clone().random_(),
    "randperm": lambda x, i: T(x)[dg.randperm(3), dg.randperm(4)[:3]],
    "uniform_": lambda x, i: T(x).clone().uniform_(-1.0, 1.0),
}

IN_PLACE = {
    "clamp_": lambda y, i: y.clamp_(0.2, 1.0),
    "copy_": lambda y, i: y.copy_(y * 2),
    "fill_": lambda y, i: y.fill_(2.5),
    "fill_ by a Tensor": lambda y, i: y.fill_(y.detach().mean()),
    "fill_diagonal_": lambda y, i: y.fill_diagonal_(1.5),
    "index_fill_": lambda y, i: y.index_fill_(0, i[:1, 0], 3.0),
    "index_reduce_": lambda y, i: y.index_reduce_(0, i[:2, 0], y[:2] * 2, "mean"),
    "logical_not_": lambda y, i: y.logical_not_(),
    "masked_scatter_": lambda y, i: y.masked_scatter_(y > 1, y * 3),
    "nan_to_num_": lambda y, i: y.nan_to_num_(),
    "renorm_": lambda y, i: y.renorm_(2, 0, 1.0),
    "scatter_reduce_": lambda y, i: y.scatter_reduce_(1, i, y * 2, "prod"),
    "zero_": lambda y, i: y.zero_(),
}

TWICE = {
    "cummax": lambda y, i: dg.cummax(y, 1).values,
    "gather": lambda y, i: y.gather(1, i),
    "kthvalue": lambda y, i: y.kthvalue(2).values,
    "median": lambda y, i: dg.median(y, 1).values,
    "quantile": lambda y, i: dg.quantile(y, 0.3, dim=1),
    "scatter_add": lambda y, i: y.scatter_add(1, i, y * y),
    "scatter_reduce": lambda y, i: y.scatter_reduce(1, i, y * y, "mean"),
    "topk": lambda y, i: y.topk(2).values,
}


def values(step):
    """Return what calls of ``step`` from one seed give, on other numbers and indices each time."""
    dg.manual_seed(4)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(CALLS):
        x = rng.uniform(0.05, 0.95, (3, 4)).astype(np.float32)
        found.append(step(x, rng.permutation(3)[:, None]).array.tobytes())
    return found


@pytest.mark.parametrize("name", LOOKED_UP)
def test_what_is_looked_up_in_a_replay_is_what_the_eager_step_finds(name):
    eager = values(LOOKED_UP[name])
    assert values(dg.capture(LOOKED_UP[name])) == eager
    assert len(set(eager)) > 1


@pytest.mark.parametrize("name", TWICE)
def test_gradients_of_gradients_of_what_is_chosen(name):
    def step(x, i):
        leaf = dg.tensor(x, requires_grad=True)
        chosen = TWICE[name](leaf * leaf, T(i))
        (slope,) = dg.autograd.grad(
            (chosen * chosen).sum() + (leaf**3).sum(), [leaf], create_graph=True
        )
        return dg.autograd.grad((slope * slope).sum(), [leaf])[0]

    eager = values(step)
    assert values(dg.capture(step)) == eager
    assert len(set(eager)) > 1


@pytest.mark.parametrize("on_tape", [True, False])
@pytest.mark.parametrize("name", IN_PLACE)
def test_what_is_written_in_place_is_what_the_eager_step_writes(name, on_tape):
    def step(x, i):
        leaf = dg.tensor(x, requires_grad=on_tape)
        y = leaf * 1.5
        before = y * y
        written = IN_PLACE[name](y, T(i))
        assert written is y
        if not written.requires_grad:
            return dg.stack((before, y * 1.0))
        total = (y * y).sum() + before.sum() + (leaf * 0.3).sum()
        return dg.stack((before, y * 1.0, *dg.autograd.grad(total, [leaf])))

    eager = values(step)
    assert values(dg.capture(step)) == eager
    assert len(set(eager)) > 1


@pytest.mark.parametrize("name", DRAWN)
def test_a_replay_draws_the_numbers_that_the_eager_step_would(name):
    eager = values(DRAWN[name])
    assert values(dg.capture(DRAWN[name])) == eager
    assert len(set(eager)) >= CALLS - 1


@pytest.mark.parametrize(
    "drawn",
    [lambda: np.random.default_rng(0).random((3, 4)), lambda: dg.random.generator().random((3, 4))],
)
def test_arrays_drawn_by_numpy_are_refused_by_line(drawn):
    step = dg.capture(lambda x: T(x) * drawn())
    with pytest.raises(dg.CaptureError, match=r"test_functions.py:\d+ .* enters the captured step"):
        step(np.ones((3, 4), np.float32))


def test_a_number_drawn_by_numpy_is_found_to_differ_at_the_second_call():
    rng = np.random.default_rng(0)
    step = dg.capture(lambda x: T(x) * float(rng.random()))
    step(np.ones(3, np.float32))
    with pytest.raises(dg.CaptureError, match="does something else than when it was captured"):
        step(np.ones(3, np.float32))


def test_a_parameter_that_is_detached_first_is_read_anew_by_each_replay():
    weight = dg.nn.Parameter(np.ones((2, 3), np.float32))
    optimizer = dg.optim.SGD([weight], lr=0.5)

    def step(x):
        optimizer.zero_grad()
        target = weight.detach()[:1] * x  # of a module that is not called, say
        loss = ((weight * x - target) ** 2).sum() + weight.sum()
        loss.backward()
        optimizer.step()
        return dg.stack((loss, weight.detach().sum()))

    def run(going):
        weight.data = dg.ones(2, 3)
        return [going(dg.full((3,), 1.0 + i)).array.tobytes() for i in range(CALLS)]

    eager = run(step)
    assert run(dg.capture(step)) == eager
    assert len(set(eager)) == CALLS

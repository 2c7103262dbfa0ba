"""A model's step, its machine and its memory, as a plan sees them."""

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import GradError, ShapeError
from distgrad.nn import functional as F
from distgrad.plan.memory import memory, state_elements
from distgrad.plan.network import Machine, bytes_per_second, count, fit, seconds
from distgrad.plan.profile import blocks, make_buckets, measure, of_shapes


def model():
    dg.manual_seed(3)
    return nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 50), nn.Linear(50, 3))


@pytest.mark.parametrize("bucket_mb", [0.004, 0.01, 4.0])
def test_buckets_are_those_of_distributed_data_parallel(bucket_mb):
    plain = model()
    planned = make_buckets(list(plain.named_parameters()), bucket_mb)
    real = dg.DistributedDataParallel(plain, bucket_mb=bucket_mb).reducer.buckets
    assert [list(b.parameters) for b in planned] == [b.names for b in real]
    assert [b.nbytes for b in planned] == [b.gradients.local.nbytes for b in real]


def measured(steps=3):
    net = model()
    x, y = np.ones((8, 30), "float32"), np.arange(8) % 3
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def update():
        optimizer.step()
        optimizer.zero_grad()

    return net, measure(net, lambda: F.cross_entropy(net(x), y), update, steps=steps)


def test_a_measured_profile_has_every_gradient_in_the_order_of_backward():
    net, found = measured()
    names = [name for name, _ in found.ready]
    assert set(names) == {name for name, _ in net.named_parameters()}
    assert names.index("3.weight") < names.index("2.weight") < names.index("0.weight")
    moments = [at for _, at in found.ready]
    assert moments[0] > 0
    assert moments == sorted(moments)
    assert moments[-1] <= found.backward
    assert found.measured


def test_a_measured_profile_knows_when_forward_first_reads_a_parameter():
    net, found = measured()
    reads = found.first_read()
    order = ["0.weight", "2.weight", "3.weight"]
    assert 0 <= reads["0.weight"] < reads["2.weight"] < reads["3.weight"] < found.forward
    assert set(found.reads) == {(name, reads[name]) for name, _ in net.named_parameters()}
    doubled = found.slower(2.0).first_read()
    assert [doubled[n] for n in order] == pytest.approx([2 * reads[n] for n in order])


def test_measuring_leaves_no_listener_behind():
    net, _ = measured()
    assert all(p._listener is None for p in net.parameters())
    assert not any(m._hooks for m in net.modules())


def test_a_distributed_model_is_measured_and_stays_distributed():
    net = model()
    ddp = dg.DistributedDataParallel(net)
    x, y = np.ones((8, 30), "float32"), np.arange(8) % 3
    found = measure(net, lambda: F.cross_entropy(ddp(x), y), net.zero_grad, steps=2)
    assert len(found.ready) == 6
    assert net[0].weight._listener is ddp.reducer
    F.cross_entropy(ddp(x), y).backward()
    assert net[0].weight.grad is not None


def test_a_loss_that_reaches_no_parameter_is_refused():
    net, stray = model(), dg.Tensor(np.ones(3, "float32"), requires_grad=True)

    def loss():
        return (stray * stray).sum()

    with pytest.raises(GradError, match="reached none of the model's parameters"):
        measure(net, loss, net.zero_grad, steps=1)


def test_a_profile_of_shapes_spreads_backward_by_bytes_from_the_last_parameter():
    found = of_shapes(list(model().named_parameters()), 3.0)
    assert found.forward == pytest.approx(1.0)
    assert [name for name, _ in found.ready][:2] == ["3.bias", "3.weight"]
    assert found.ready[-1][1] == pytest.approx(2.0)
    assert found.ready[1][1] == pytest.approx(2.0 * 4 * 153 / found.nbytes)
    assert found.first_read()["0.weight"] == 0.0


def test_a_profile_without_time_is_refused():
    with pytest.raises(ShapeError, match="a time above 0"):
        of_shapes(blocks(1000), 0.0)


@pytest.mark.parametrize("parameters", [1000, 10_800_000, 124_000_001])
@pytest.mark.parametrize("layers", [1, 3, 12])
def test_blocks_have_exactly_the_parameters_asked_for(parameters, layers):
    named = blocks(parameters, layers)
    assert sum(p.size for _, p in named) == parameters


# -- the machine ----------------------------------------------------------------------------------


def test_a_line_is_found_again():
    points = [(n, 3e-5 + 2e-9 * n) for n in (1e3, 1e5, 1e7)]
    found = fit(points)
    assert found.start == pytest.approx(3e-5)
    assert found.rate == pytest.approx(2e-9)


def test_a_fit_is_never_below_zero():
    falling, bent = fit([(1e3, 2e-5), (1e6, 1e-5)]), fit([(1e3, 1e-6), (1e6, 5e-3)])
    assert falling.rate == 0.0
    assert falling.start > 0
    assert bent.start == 0.0
    assert bent.rate > 0


def test_small_sizes_count_as_much_as_large_ones():
    noisy = [(n, (1e-5 + 1e-9 * n) * f) for n, f in ((1e2, 1.1), (1e3, 0.9), (1e8, 1.1))]
    assert fit(noisy).start == pytest.approx(1e-5, rel=0.15)


def test_one_size_makes_no_line():
    with pytest.raises(ShapeError, match="measure a small and a large array"):
        fit([(8.0, 1.0), (8.0, 2.0)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("25Gbit", 25e9 / 8),
        ("100mbit/s", 1e8 / 8),
        ("3GB", 3e9),
        ("1 Gbps", 1.25e8),
        ("fast", None),
        ("0Gbit", None),
    ],
)
def test_bandwidths_are_read(text, value):
    if value is None:
        with pytest.raises(ShapeError, match="write it as 25Gbit"):
            bytes_per_second(text)
    else:
        assert bytes_per_second(text) == pytest.approx(value)


def test_times_and_numbers_are_read():
    assert seconds("10us") == pytest.approx(1e-5)
    assert seconds("1.5") == 1.5
    assert count("10.8M") == 10_800_000
    assert count("1.5B") == 1_500_000_000
    for read, text in ((seconds, "ten"), (count, "1.2.3M"), (count, "0")):
        with pytest.raises(ShapeError, match="write it as"):
            read(text)


def test_a_machine_needs_nodes():
    with pytest.raises(ShapeError, match="nodes=0: at least 1"):
        Machine(nodes=0)


# -- memory ---------------------------------------------------------------------------------------


def test_memory_is_that_of_the_published_formulas_where_no_node_is_shared():
    steps = of_shapes(blocks(10_000_000), 1.0)
    n, p = 1e7, 8
    totals = [memory(steps, p, 1, zero=z) for z in range(4)]
    held = [m.total - m.working for m in totals]
    assert held[0] == pytest.approx(16 * n)
    assert held[1] == pytest.approx((4 + 4 + 8 / p) * n)
    assert held[2] == pytest.approx((4 + 12 / p) * n)
    assert held[3] == pytest.approx(16 / p * n)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_on_one_node_stage_1_keeps_parameters_and_state_once(p):
    steps = of_shapes(blocks(1_000_000), 1.0)
    assert memory(steps, 1, p, zero=1).total <= ((4 + 12) / p + 4) * 1e6 * (1 + 1e-9)


@pytest.mark.parametrize(("name", "elements"), [("AdamW", 2), ("SGD", 0), ("Adagrad", 1)])
def test_an_optimizers_state_is_counted_by_a_step_of_it(name, elements):
    assert state_elements(name) == elements


def test_an_unknown_optimizer_is_refused_with_the_known_ones():
    with pytest.raises(ShapeError, match=r"'Adamm' is no optimizer.*AdamW"):
        state_elements("Adamm")

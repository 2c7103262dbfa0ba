"""The virtual clock against closed formulas, and a step on it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from distgrad.errors import ShapeError
from distgrad.plan.clock import Clock
from distgrad.plan.network import Machine
from distgrad.plan.predict import largest_of, predict
from distgrad.plan.profile import blocks, of_shapes, without_memory
from distgrad.plan.schedule import SCHEDULES, Layout, Phase

ALPHA, BETA, GAMMA = 2e-5, 4e-10, 7e-11
FREE = {"overhead": 0.0, "wire_copy": 0.0, "call": 0.0, "inside_beta": 0.0, "memory": 0.0}
SIZES = [2, 3, 5, 16, 1000]


def machine(nodes, each=1, **settings):
    bare = {"latency": ALPHA, "beta": BETA, "gamma": GAMMA, "inside_latency": 0.0}
    return Machine(nodes, each, **FREE | bare | settings)


def alone(nodes, algorithm, nbytes, each=1):
    clock = Clock(machine(nodes, each))
    phases = SCHEDULES[algorithm].all_reduce(nbytes, Layout(nodes, each))
    clock.wait([clock.start("sum", phases)])
    return clock


@pytest.mark.parametrize("p", SIZES)
def test_a_ring_takes_2_p_1_latencies_and_its_shares_of_the_bytes(p):
    n = 1e7
    closed = 2 * (p - 1) * (ALPHA + n / p * BETA) + (p - 1) * n / p * GAMMA
    assert alone(p, "ring", n).now == pytest.approx(closed)


@pytest.mark.parametrize("p", [8, 16, 1024])
def test_a_small_tree_takes_2_log_p_latencies(p):
    n, share = 4096.0, (p - 1) / p
    closed = 2 * math.log2(p) * ALPHA + 2 * n * share * BETA + n * share * GAMMA
    assert alone(p, "tree", n).now == pytest.approx(closed)


@pytest.mark.parametrize("p", [2, 3, 7])
def test_a_large_tree_takes_one_round_there_and_a_ring_back(p):
    n = 1e7
    closed = p * ALPHA + (p - 1) * (2 * n / p * BETA + n / p * GAMMA)
    assert alone(p, "tree", n).now == pytest.approx(closed)


@pytest.mark.parametrize("nodes", [2, 3, 64])
@pytest.mark.parametrize("each", [2, 4])
def test_hierarchical_sends_what_one_rank_in_a_nodes_place_would(nodes, each):
    n = 1e7
    closed = 2 * ALPHA + 2 * (nodes - 1) / nodes * n * BETA
    clock = Clock(replace(machine(nodes, each), gamma=0.0))
    phases = SCHEDULES["hierarchical"].all_reduce(n, Layout(nodes, each))
    clock.wait([clock.start("sum", phases)])
    assert clock.now == pytest.approx(closed)


def test_two_collectives_share_the_link():
    n, p = 1e8, 4
    clock = Clock(replace(machine(p), gamma=0.0))
    phases = SCHEDULES["ring"].all_reduce(n, Layout(p, 1))
    clock.wait([clock.start("a", phases), clock.start("b", phases)])
    assert clock.now == pytest.approx(2 * 2 * (p - 1) / p * n * BETA, rel=0.01)


def test_stretches_of_equal_rounds_take_as_long_as_the_rounds_one_by_one():
    phases = [SCHEDULES["ring"].all_reduce(n, Layout(50, 1)) for n in (1e6, 3e6)]
    costs = {"overhead": 3e-6, "wire_copy": 1e-10}
    quick, slow = Clock(machine(50, **costs)), Clock(machine(50, **costs))
    slow._skip_equal_rounds = lambda: None
    for clock in (quick, slow):
        clock.wait([clock.start(str(i), p) for i, p in enumerate(phases)])
    assert quick.now == pytest.approx(slow.now, rel=0.02)
    assert quick.events < slow.events / 5


def test_what_arrives_between_two_polls_waits_for_the_second():
    clock = Clock(machine(2))
    flight = clock.start("sum", SCHEDULES["ring"].all_reduce(1e6, Layout(2, 1)))
    clock.compute(1.0)
    assert flight.left == 1
    clock.poll()
    assert flight.at == 1
    clock.compute(1.0)
    clock.poll()
    assert flight.done


def test_what_is_added_up_first_is_sent_message_by_message():
    # 10 messages: the link starts after a tenth of the work and is then the slower of the two.
    clock = Clock(machine(2, gamma=1e-9))
    clock.wait([clock.start("sum", (Phase(messages=10, link=1e8, before=1e7),))])
    assert clock.now == pytest.approx(1e-3 + 1e8 * BETA + ALPHA)


@pytest.mark.parametrize(("streamed", "behind"), [(True, 1e-3), (False, 1e-2)])
def test_only_what_is_handed_on_as_it_comes_is_done_while_more_comes(streamed, behind):
    clock = Clock(machine(2, gamma=1e-9))
    phase = Phase(messages=10, link=1e8, after=1e7, each_as_it_comes=streamed)
    clock.wait([clock.start("sum", (phase,))])
    assert clock.now == pytest.approx(1e8 * BETA + ALPHA + behind)
    assert clock.busy == pytest.approx(1e-2)


# -- steps ----------------------------------------------------------------------------------------


def profile(parameters=100_000_000, compute=1.0):
    return of_shapes(blocks(parameters), compute)


def gpt(vocabulary, context, layers, width):
    """GPT-2's matrices: tied embeddings first, so that their gradient is ready last."""
    shapes = {"tokens": (vocabulary, width), "positions": (context, width)}
    for i in range(layers):
        for name, rows in (("qkv", 3), ("project", 1), ("up", 4), ("down", 4)):
            shapes[f"blocks.{i}.{name}"] = (rows * width, width)
    return [(name, without_memory(shape)) for name, shape in shapes.items()]


@pytest.mark.parametrize("model", [(65, 256, 6, 384), (50257, 1024, 12, 768)])
def test_64_nodes_of_16_ranks_keep_85_percent_with_stage_1_in_buckets_of_16_mib(model):
    steps = of_shapes(gpt(*model), 1.0, bucket_mb=16)
    found = predict(steps, Machine(64, 16, beta=8 / 25e9), zero=1)
    assert found.algorithm == "hierarchical"
    assert 0.85 <= found.efficiency < 1


def test_one_rank_takes_what_it_computes():
    found = predict(profile(), machine(1))
    assert found.step == pytest.approx(1.0)
    assert found.efficiency == pytest.approx(1.0)


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
@pytest.mark.parametrize("algorithm", ["ring", "tree", "hierarchical"])
def test_ten_thousand_ranks_of_a_hundred_million_parameters_are_few_events(zero, algorithm):
    found = predict(profile(), Machine(625, 16), zero=zero, algorithm=algorithm)
    assert found.ranks == 10_000
    assert found.events < 50_000


def test_a_network_without_cost_costs_nothing():
    free = machine(3, beta=0.0, latency=0.0, gamma=0.0)
    assert predict(profile(), free, algorithm="tree").step == pytest.approx(1.0)


def test_a_network_too_slow_to_hide_takes_as_long_as_its_bytes():
    slow = machine(2, beta=1e-7, gamma=0.0)
    found = predict(profile(), slow, algorithm="ring")
    assert found.step == pytest.approx(4e8 * 1e-7 + 1 / 3, rel=0.02)


def test_gathering_under_the_next_forward_hides_what_plain_ddp_shows():
    between = machine(2, beta=2e-9, gamma=0.0)
    plain, cut = (predict(profile(), between, zero=z, algorithm="ring").step for z in (0, 1))
    assert cut < plain
    assert cut > max(1.0, 4e8 * 2e-9)


def test_stage_3_sends_half_as_much_again():
    slow = machine(4, beta=1e-7, gamma=0.0)
    one, three = (predict(profile(), slow, zero=z, algorithm="ring").step for z in (1, 3))
    assert three / one == pytest.approx(1.5, rel=0.03)


def test_stage_3_waits_for_each_bucket_where_it_is_used_in_forward_and_in_backward():
    late = machine(2, beta=0.0, gamma=0.0, latency=0.01)
    steps = profile()
    found = predict(steps, late, zero=3, algorithm="tree")
    # The question and the answer, for each bucket twice; then the last sum, and the norm.
    waits = 4 * len(steps.buckets) + 5
    assert found.step == pytest.approx(1 + waits * 0.01)


def test_in_one_node_stage_3_is_stage_2():
    node = machine(1, 4, beta=0.0, memory=1e-11)
    two, three = (predict(profile(), node, zero=z).step for z in (2, 3))
    assert three == two


def test_an_optimizer_is_divided_over_the_ranks_by_zero_alone():
    steps = of_shapes(blocks(1_000_000), 0.1, optimizer=1.0)
    free = machine(4, beta=0.0, latency=0.0, gamma=0.0)
    assert predict(steps, free).step == pytest.approx(1.1)
    assert predict(steps, free, zero=1).step == pytest.approx(0.35)


def test_ranks_that_share_a_core_take_turns():
    crowded = machine(1, 4, cores=2)
    found = predict(profile(), replace(crowded, gamma=0.0))
    assert found.step == pytest.approx(2.0)
    assert found.efficiency == pytest.approx(1.0)


def test_all_wait_for_the_slowest():
    free = machine(2, beta=0.0, latency=0.0, gamma=0.0)
    found = predict(profile(), free, jitter=0.1)
    assert found.step == pytest.approx(1 + 0.1 / math.sqrt(math.pi), rel=1e-3)
    assert found.compute == pytest.approx(1.0)


@pytest.mark.parametrize("n", [2, 3, 1000])
def test_the_expected_largest_normal_number_is_that_of_draws(n):
    draws = np.random.default_rng(n).normal(size=(20_000, n)).max(1).mean()
    assert largest_of(n) == pytest.approx(draws, abs=0.02)


def test_a_stage_that_does_not_exist_is_refused():
    with pytest.raises(ShapeError, match=r"zero=4: the stages are 0 \(plain\), 1, 2 and 3"):
        predict(profile(), machine(2), zero=4)

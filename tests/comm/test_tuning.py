"""Measured thresholds: where they are kept, who reads them, what they change and what not."""

import json
from pathlib import Path

import numpy as np
import pytest
from training import trained_sha256

import distgrad as dg
from distgrad import nn
from distgrad.comm import Communicator, connect, run_ranks, tuning
from distgrad.comm.algorithms import choose
from distgrad.comm.cluster import look
from distgrad.comm.topology import Topology
from distgrad.comm.tuning import DEFAULTS, Tuning
from distgrad.errors import DistgradError, MismatchError
from distgrad.parallel.ddp import BUCKET_MB

HERE = {"cpus": ["a"], "ranks_per_node": [1, 1], "library": "x", "transport": "y"}
ELSEWHERE = {**HERE, "cpus": ["b"]}
APART = [1, 1, 1]


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"DISTGRAD_TUNING": "off"}, None),
        ({"DISTGRAD_TUNING": "/a/b"}, Path("/a/b")),
        ({"XDG_CACHE_HOME": "/c"}, Path("/c/distgrad/tuning.json")),
        ({}, Path.home() / ".cache/distgrad/tuning.json"),
    ],
)
def test_the_file_is_the_one_named_or_the_caches(environ, path):
    assert tuning.path_of(environ) == path


def test_what_is_written_is_found_again_for_its_cluster_alone(tmp_path):
    path = tmp_path / "t.json"
    mine, other = Tuning(ring_bytes=4096, bucket_mb=2.5), Tuning(halving_bytes=7)
    path.write_text(tuning.text_of([], ELSEWHERE, Tuning(bucket_mb=9.0)))
    path.write_text(tuning.text_of(tuning.entries(path), HERE, mine))
    path.write_text(tuning.text_of(tuning.entries(path), ELSEWHERE, other))
    found = tuning.entries(path)
    assert len(found) == 2
    assert tuning.pick(found, HERE) == mine
    assert tuning.pick(found, ELSEWHERE) == other
    assert tuning.pick(found, {**HERE, "transport": "z"}) == DEFAULTS


def content(**measured):
    return json.dumps({"format": 1, "tunings": [{"cluster": HERE, "measured": measured}]})


BROKEN = {
    "no JSON": ("{", "it is no JSON"),
    "no text": ("\0\xff", "it is no JSON"),
    "empty": ("", "it is no JSON"),
    "list": ("[]", "it has not the format 1"),
    "future": ('{"format": 2}', "it has not the format 1"),
    "no list": ('{"format": 1, "tunings": 3}', "it has no list of tunings"),
    "no cluster": ('{"format": 1, "tunings": [{}]}', "a tuning lacks its cluster"),
    "unknown": (content(chunk=3), "it has a threshold 'chunk', which is unknown here"),
    "text": (content(ring_bytes="3"), "ring_bytes is '3'"),
    "negative": (content(halving_bytes=-1), "halving_bytes is -1"),
    "nothing": (content(bucket_mb=0), "bucket_mb is 0"),
    "bool": (content(ring_bytes=True), "ring_bytes is True"),
    "infinite": (content(bucket_mb=float("inf")), "bucket_mb is inf"),
    "deep": ("[" * 100_000, "is no tuning that this distgrad can read"),
    "long": (" " * (1 << 20) + "{}", "it is too long for one"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_its_name_and_reason(name, tmp_path):
    text, reason = BROKEN[name]
    path = tmp_path / "t.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DistgradError) as caught:
        tuning.entries(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_a_file_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(DistgradError, match="cannot be read"):
        tuning.entries(tmp_path)


# -- dg.init ------------------------------------------------------------------------------------


def tuned(path, monkeypatch, found, nodes=APART):
    """Write what was found on the cluster that simulated ranks see."""
    cluster = run_ranks(sum(nodes), lambda: look(Communicator(connect())).as_json(), nodes=nodes)[0]
    path.write_text(tuning.text_of([], cluster, found))
    monkeypatch.setenv("DISTGRAD_TUNING", str(path))


def test_rank_0_reads_and_all_ranks_agree(tmp_path, monkeypatch):
    found = Tuning(ring_bytes=64, halving_bytes=5, bucket_mb=0.5)
    tuned(tmp_path / "t.json", monkeypatch, found)
    reads, entries = [], tuning.entries
    monkeypatch.setattr(tuning, "entries", lambda path: reads.append(path) or entries(path))
    assert run_ranks(3, lambda: dg.init().comm.transport.state.tuning, nodes=APART) == [found] * 3
    assert len(reads) == 1


def test_ranks_on_other_nodes_have_the_defaults(tmp_path, monkeypatch):
    tuned(tmp_path / "t.json", monkeypatch, Tuning(bucket_mb=0.5))
    assert run_ranks(3, lambda: dg.init().comm.transport.state.tuning) == [DEFAULTS] * 3


def test_without_a_file_nothing_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DISTGRAD_TUNING", str(tmp_path / "absent.json"))
    assert run_ranks(2, lambda: dg.init().comm.transport.state.tuning) == [DEFAULTS] * 2
    assert not capsys.readouterr().err


def test_a_broken_file_is_a_warning_that_names_it_and_the_command(tmp_path, monkeypatch, capsys):
    path = tmp_path / "t.json"
    path.write_text("{")
    monkeypatch.setenv("DISTGRAD_TUNING", str(path))
    assert run_ranks(3, lambda: dg.init().comm.transport.state.tuning) == [DEFAULTS] * 3
    told = capsys.readouterr().err
    assert told.count(str(path)) == 1
    assert "the defaults are used. `distgrad bench --tune`" in told
    assert "DISTGRAD_TUNING=off" in told


# -- what they change ---------------------------------------------------------------------------


def buckets(**settings):
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(8)))
    return len(dg.DistributedDataParallel(model, **settings).reducer.buckets)


def test_the_bucket_size_is_the_measured_one_and_an_argument_wins(tmp_path, monkeypatch):
    tuned(tmp_path / "t.json", monkeypatch, Tuning(bucket_mb=0.02))
    small = run_ranks(3, buckets, nodes=APART)
    assert small == run_ranks(3, lambda: buckets(bucket_mb=0.02), nodes=[3])
    assert small[0] > 1
    for name in ("bucket_mb", "bucket_cap_mb"):
        assert run_ranks(3, lambda n=name: buckets(**{n: 4.0}), nodes=APART) == [1] * 3


def test_untuned_buckets_have_the_constants_size():
    assert run_ranks(3, buckets) == run_ranks(3, lambda: buckets(bucket_mb=BUCKET_MB))


def test_a_trainer_takes_the_measured_bucket_size(tmp_path, monkeypatch):
    def body():
        model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(8)))
        optimizer = dg.optim.SGD(model.parameters(), lr=0.1)
        trainer = dg.Trainer(model, optimizer, nn.functional.cross_entropy)
        return len(trainer.ddp.reducer.buckets)

    tuned(tmp_path / "t.json", monkeypatch, Tuning(bucket_mb=0.02))
    assert run_ranks(3, body, nodes=APART)[0] > 1


def test_short_arrays_take_the_tree_and_long_ones_the_ring():
    apart, together = Topology(((0,), (1,), (2,))), Topology(((0, 1, 2),))
    assert choose(apart, False) == choose(apart, False, 1) == "ring"
    assert [choose(apart, False, n, 64) for n in (63, 64)] == ["tree", "ring"]
    assert choose(apart, True, 99, 64) == "tree"
    assert choose(together, False, 1, 64) == "shared"


def summed(ring_bytes, count, **settings):
    def body():
        comm = Communicator(connect())
        comm.transport.state.tuning = Tuning(ring_bytes=ring_bytes)
        array = np.random.default_rng(comm.rank).normal(size=count)
        comm.all_reduce(array, **settings)
        return array.tobytes()

    return run_ranks(5, body, nodes=[1] * 5)[0]


def test_auto_sums_in_the_trees_order_below_the_threshold_and_in_the_rings_from_it_on():
    ring, tree_ = (summed(None, 50, algorithm=name) for name in ("ring", "tree"))
    assert ring != tree_
    assert summed(401, 50) == tree_
    assert summed(400, 50) == summed(None, 50) == ring


def test_an_algorithm_that_was_asked_for_is_the_one_taken():
    assert summed(1 << 20, 50, algorithm="ring") == summed(None, 50, algorithm="ring")


@pytest.mark.parametrize("schedule", [None, 1, 2])
def test_sizes_on_both_sides_of_the_threshold_are_a_mismatch_not_a_wait(schedule):
    def body():
        comm = Communicator(connect())
        comm.transport.state.tuning = Tuning(ring_bytes=64)
        comm.all_reduce(np.ones(4 + 8 * (comm.rank == 2)))

    with pytest.raises(MismatchError, match="every rank must call the same"):
        run_ranks(4, body, schedule=schedule, nodes=[1] * 4)


@pytest.mark.parametrize(("halving_bytes", "partners"), [(0, 7), (1 << 20, 5)])
def test_the_tree_halves_below_the_measured_slice(halving_bytes, partners):
    def body():
        comm = Communicator(connect())
        comm.transport.state.tuning = Tuning(halving_bytes=halving_bytes)
        peers, isend = set(), comm.transport.isend
        comm.transport.isend = lambda b, to, tag: peers.add(to) or isend(b, to, tag)
        comm.all_reduce(np.ones(4096), algorithm="tree")
        return len(peers)

    # The check that all are there goes to ranks 1, 2 and 4 further on, halving to 1, 2 and 4 off.
    assert max(run_ranks(8, body, nodes=[1] * 8)) == partners


def test_halving_or_not_has_the_same_bits():
    def body(nbytes):
        comm = Communicator(connect())
        comm.transport.state.tuning = Tuning(halving_bytes=nbytes)
        array = np.random.default_rng(comm.rank).normal(size=999)
        comm.all_reduce(array, algorithm="tree")
        return array.tobytes()

    both = [run_ranks(9, lambda n=n: body(n), nodes=[1] * 9) for n in (0, 1 << 20)]
    assert len({bits for found in both for bits in found}) == 1


@pytest.mark.parametrize(
    "found",
    [
        Tuning(ring_bytes=1 << 30, bucket_mb=0.001),
        Tuning(ring_bytes=100, halving_bytes=0, bucket_mb=0.05),
        Tuning(halving_bytes=1 << 30),
    ],
)
@pytest.mark.parametrize("nodes", [APART, [2, 1]])
def test_with_shards_every_tuning_gives_the_same_hash(found, nodes, tmp_path, monkeypatch):
    def body():
        value = trained_sha256("mlp", steps=8, bucket_mb=None)
        return value, dg.init(shards=4).comm.transport.state.tuning

    untuned = run_ranks(1, body)[0][0]
    tuned(tmp_path / "t.json", monkeypatch, found, nodes)
    assert run_ranks(3, body, nodes=nodes) == [(untuned, found)] * 3

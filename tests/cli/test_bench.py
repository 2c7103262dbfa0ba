"""``distgrad bench``: every algorithm is measured and shown; what cannot be measured says why."""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from jobs import LAUNCHER, ROOT, mpirun

import distgrad as dg
from distgrad import cli
from distgrad.cli import bench, bench_report, bench_sums, outputs
from distgrad.cli.bench_measure import Computation, Row, hidden, measure, medians_of_the_slowest
from distgrad.comm import ALL_REDUCE, Communicator, cluster, connect, run_ranks
from distgrad.errors import CommError

QUICK = ["--sizes", "8", "1K", "64K", "--rounds", "1"]


def start(*command, env=()):
    """Run a command outside of any job, as a user would."""
    mpirun(2)  # or skip
    environ = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        command,
        env=environ | dict(env),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return (the process, the JSON, the plot) of a short run of two ranks with everything."""
    folder = tmp_path_factory.mktemp("bench")
    files = ["--json", str(folder / "b.json")]
    plot = folder / "b.png"
    if outputs.find_spec("matplotlib"):
        files += ["--plot", str(plot)]
    done = start(sys.executable, "-m", "distgrad", "bench", "-n", "2", *QUICK, *files)
    assert done.returncode == 0, done.stderr
    return done, json.loads((folder / "b.json").read_text()), plot


def names_of(result):
    return [n for n in [*ALL_REDUCE, "auto"] if n not in result["left_out"]]


def test_the_tables_have_a_column_for_every_algorithm_and_a_row_for_every_size(measured):
    done, result, _ = measured
    heads = [line for line in done.stdout.splitlines() if line.startswith("size")]
    assert len(heads) == 3
    for head in heads:
        assert all(name in head.split() for name in [*names_of(result), "mpi4py"])
    for size in ("8 B", "1 KiB", "64 KiB"):
        assert sum(line.startswith(f"{size} ") for line in done.stdout.splitlines()) == 3


def test_the_json_has_every_algorithm_at_every_size(measured):
    _, result, _ = measured
    found = {(row["algorithm"], row["nbytes"]) for row in result["rows"]}
    names = [*names_of(result), "mpi4py"]
    if "shared" in names:
        names += ["shared in place", "hierarchical in place"]
    assert {(n, size) for n in names for size in (8, 1024, 65536)} <= found
    assert all(row["seconds"] > 0 for row in result["rows"])
    for row in result["rows"]:
        assert row["bandwidth"] == pytest.approx(row["nbytes"] / row["seconds"])
        assert (row["overlap"] is None) == (row["algorithm"] == "mpi4py")


def test_the_header_names_cpu_ranks_and_transport(measured):
    done, result, _ = measured
    head = done.stdout.splitlines()[0]
    assert cluster.cpu_model() in head
    assert "2 ranks" in head
    assert result["transport"] in head
    assert result["library"] in head
    assert sum(result["ranks_per_node"]) == result["ranks"] == 2


def test_gloo_is_measured_or_it_is_said_why_not(measured):
    done, result, _ = measured
    named = {row["algorithm"] for row in result["rows"]}
    assert ("gloo" in named) != ("gloo" in result["left_out"])
    if "gloo" not in named:
        assert f"gloo is left out: {result['left_out']['gloo']}" in done.stdout


def test_the_plot_is_a_png(measured):
    if not outputs.find_spec("matplotlib"):
        pytest.skip("matplotlib is not installed: no plot can be drawn")
    assert measured[2].read_bytes().startswith(b"\x89PNG\r\n")


def test_it_measures_the_ranks_that_mpirun_started():
    asked = ["--algorithms", "ring", "--no-peers", "--dtype", "float64", *QUICK]
    done = start(*mpirun(3), sys.executable, "-m", "distgrad", "bench", *asked)
    assert done.returncode == 0, done.stderr
    assert "3 ranks" in done.stdout
    heads = [line.split() for line in done.stdout.splitlines() if line.startswith("size")]
    assert heads == [["size", "ring"]] * 3


# -- what cannot be measured --------------------------------------------------------------------


@pytest.fixture
def alone(monkeypatch):
    """Be a process that nobody launched."""
    for name in [k for k in os.environ if k.startswith(LAUNCHER)]:
        monkeypatch.delenv(name)
    return monkeypatch


REFUSED = {
    "one": ([], r"one rank has nobody to sum with.*distgrad bench -n 2.*mpirun -n 2 distgrad"),
    "n=1": (["-n", "1"], "one rank has nobody to sum with"),
    "n=0": (["-n", "0"], "-n 0: a job needs at least one rank"),
    "rounds": (["-n", "2", "--rounds", "0"], "--rounds 0: a median needs at least one"),
    "json": (["-n", "2", "--json", "nowhere/x.json"], "'nowhere/x.json' cannot be written"),
    "folder": (["-n", "2", "--plot", "."], r"'\.' cannot be written"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_before_a_job_is_started(name, alone, capsys):
    arguments, message = REFUSED[name]
    assert cli.main(["bench", *arguments]) == 2
    printed = capsys.readouterr()
    assert re.search(message, printed.err), printed.err
    assert not printed.out


def test_another_number_of_ranks_than_the_jobs_is_refused(alone, capsys):
    alone.setenv("OMPI_COMM_WORLD_SIZE", "2")
    alone.setenv("OMPI_COMM_WORLD_RANK", "0")
    assert cli.main(["bench", "-n", "4"]) == 2
    assert "-n 4 inside a job of 2 ranks: leave -n out" in capsys.readouterr().err


def test_a_plot_without_matplotlib_says_what_to_install(alone, capsys, tmp_path):
    alone.setattr(outputs, "find_spec", lambda name: None)
    assert cli.main(["bench", "-n", "2", "--plot", str(tmp_path / "a.png")]) == 2
    assert "pip install 'distgrad[plot]'" in capsys.readouterr().err


def test_a_fault_that_rank_0_finds_ends_all_ranks_and_is_said_once():
    arguments = ["--json", "/nowhere/x.json", *QUICK]
    done = start(*mpirun(2), sys.executable, "-m", "distgrad", "bench", *arguments)
    assert done.returncode != 0
    assert done.stderr.count("'/nowhere/x.json' cannot be written") == 1
    assert "Traceback" not in done.stderr


def test_an_unknown_algorithm_is_refused_before_a_job_is_started(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "-n", "2", "--algorithms", "rong"])
    told = capsys.readouterr().err
    assert "rong" in told
    assert all(name in told for name in ALL_REDUCE)


@pytest.mark.parametrize("text", ["", "0", "-4", "4X", "1.5K", "K"])
def test_what_is_no_size_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--sizes", text])
    assert "a size is a number of bytes" in capsys.readouterr().err or text == "-4"


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("12", 12), ("4K", 4096), ("4kb", 4096), ("2 MiB", 2 << 20), ("1G", 1 << 30)],
)
def test_sizes_are_read_with_their_units(text, nbytes):
    assert bench.size_of(text) == nbytes


def test_the_words_start_again_as_they_were_given(alone, tmp_path, capsys, monkeypatch):
    words = ["bench", "-n", "3", "--dry-run", "--sizes", "4 K", "--json", str(tmp_path / "a b")]
    mpirun(3)  # or skip
    assert cli.main(words) == 0
    assert (
        capsys.readouterr()
        .out.rstrip()
        .endswith(f"-m distgrad bench -n 3 --dry-run --sizes '4 K' --json '{tmp_path}/a b'")
    )


# -- in a simulated world -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3])
def test_all_that_runs_in_a_simulated_world_is_measured_there_alike_on_all_ranks(size):
    def body():
        comm = Communicator(connect())
        found, left_out = bench_sums.candidates(comm, None, peers=False)
        rows = measure(comm, found, [4, 4096], np.dtype("f4"), rounds=2)
        return [(r.algorithm, r.nbytes, r.seconds, r.overlap) for r in rows], left_out

    results = run_ranks(size, body)
    assert all(r == results[0] for r in results)
    rows, left_out = results[0]
    assert {name for name, *_ in rows} >= {*ALL_REDUCE, "auto"} - set(left_out)
    assert "MPI" in left_out["native"]
    assert all(0 <= overlap <= 1 for *_, overlap in rows)


def test_an_unknown_algorithm_is_named_with_those_there_are():
    def body():
        bench_sums.candidates(Communicator(connect()), ["rong"], peers=False)

    with pytest.raises(CommError, match=r"no all_reduce algorithm 'rong'; use 'auto', 'ring'"):
        run_ranks(2, body)


def test_a_sum_that_is_wrong_ends_the_benchmark():
    def body():
        comm = Communicator(connect())
        array = np.zeros(5)
        wrong = bench_sums.Bound(array, lambda: comm.start_all_reduce(array, op="max"))
        bench_sums.check_sum(comm, "broken", wrong)

    with pytest.raises(CommError, match=r"broken has summed 5 elements wrongly \(the first at 0\)"):
        run_ranks(3, body)


def test_a_missing_torch_is_one_line(monkeypatch):
    monkeypatch.setattr(bench_sums, "find_spec", lambda name: None)
    reasons = run_ranks(3, lambda: bench_sums.join_gloo(dg.init().comm))
    assert set(reasons) == {"torch is not installed (`pip install torch`)"}


@pytest.mark.parametrize("fault", [RuntimeError("no route\nto host"), OSError("no route")])
def test_a_group_of_gloo_that_fails_on_one_rank_is_left_out_on_all(monkeypatch, fault):
    def join(backend, store, rank, world_size, timeout):
        if rank == 1:
            raise fault

    torch = SimpleNamespace(
        set_num_threads=lambda count: None,
        TCPStore=lambda host, port, size, first, timeout: "store",
        init_process_group=join,
    )
    monkeypatch.setattr(bench_sums, "find_spec", lambda name: "there")
    monkeypatch.setattr(bench_sums, "import_module", lambda name: torch)
    reasons = run_ranks(3, lambda: bench_sums.join_gloo(dg.init().comm))
    assert set(reasons) == {"PyTorch's ranks did not find each other: no route"}


def test_where_memory_runs_out_sums_in_place_are_left_out_and_the_others_measured(monkeypatch):
    def body():
        comm = Communicator(connect())
        found, _ = bench_sums.candidates(comm, ["shared"], peers=False)
        monkeypatch.setattr(Communicator, "share", lambda self, specs: None)
        return [row.algorithm for row in measure(comm, found, [64], np.dtype("f4"), rounds=1)]

    assert run_ranks(3, body) == [["shared"]] * 3


@pytest.mark.parametrize(
    ("total", "computed", "pure", "part"),
    [(2.0, 1.0, 1.0, 0.0), (1.0, 1.0, 1.0, 1.0), (5.5, 4.0, 2.0, 0.25), (9, 1, 1, 0), (1, 2, 1, 1)],
)
def test_overlap_is_the_part_of_the_transfer_that_adds_nothing(total, computed, pure, part):
    assert hidden(total, computed, pure) == part


def test_figures_are_medians_over_rounds_of_the_slowest_rank():
    rounds = [[[1.0, 9.0], [5.0, 1.0], [2.0, 3.0]], [[2.0, 1.0], [1.0, 1.0], [7.0, 2.0]]]

    def body():
        comm = Communicator(connect())
        return medians_of_the_slowest(comm, rounds[comm.rank % 2])

    assert run_ranks(3, body) == [[5.0, 3.0]] * 3


@pytest.mark.parametrize("products", [1, 99, 100, 101, 1000])
def test_as_much_is_computed_as_is_asked_for_with_a_poll_before_each_stretch(products):
    computation = Computation()
    computation.seconds = 0.5e-6  # 100 products between two polls
    done, polls = [], []
    computation.do = done.append
    computation.between(products, lambda: polls.append(sum(done)))
    assert sum(done) == products
    assert polls == [*range(0, products, 100)]


def test_a_size_that_one_cannot_do_is_a_dash():
    rows = [Row("a", 8, 1e-6, 0.5), Row("b", 8, 2e-6, None), Row("a", 1 << 20, 1.0, 1.0)]
    lines = bench_report.tables(rows).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["size", "a", "b"],
        ["8", "B", "1", "2"],
        ["1", "MiB", "1000000", "–"],
    ]
    assert lines[-2].split() == ["8", "B", "50", "–"]


@pytest.mark.parametrize(
    ("environ", "hosts", "shares", "said"),
    [
        ({}, 1, True, "shared memory"),
        ({}, 1, False, "MPI inside one host"),
        ({}, 2, False, "MPI's own choice"),
        ({"OMPI_MCA_pml": "ucx"}, 2, False, "OMPI_MCA_pml=ucx"),
        ({"OMPI_MCA_btl_tcp_eager_limit": "99"}, 3, False, "over TCP eager up to 99 bytes"),
    ],
)
def test_what_carries_the_messages_is_what_was_chosen(environ, hosts, shares, said):
    assert cluster.carrier(environ, hosts=hosts, shares=shares) == said

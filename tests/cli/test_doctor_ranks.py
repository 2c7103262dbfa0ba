"""``distgrad doctor`` on several ranks: simulated, real, on hosts, with an MPI that is broken."""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from findings import look, the_one
from hosts import hosts
from jobs import LAUNCHER, ROOT, mpirun

import distgrad as dg
from distgrad import cli
from distgrad.cli import doctor, doctor_network, doctor_ranks, doctor_report
from distgrad.cli.doctor_finding import NOTE, OK, PROBLEM, STATES, Finding, note, ok, problem
from distgrad.comm import Communicator, connect, cores, launchers, run_ranks
from distgrad.comm.cluster import Cluster
from distgrad.errors import CommError

RANK = doctor_ranks.Rank(
    host="a",
    cores="0",
    place="a's",
    findings=[],
    versions={"numpy": "2.4"},
    numerics={"NumPy": "x", "BLAS": [{"num_threads": 1}]},
    variables={"OMP_NUM_THREADS": "1"},
)
CLUSTER = Cluster(("cpu",), (2,), "Open MPI v5.0.11", "over TCP")


# -- what ranks have told, compared ---------------------------------------------------------------


def test_versions_that_differ_are_a_problem_that_names_ranks_and_hosts():
    ranks = [RANK, RANK, replace(RANK, host="b", versions={"numpy": "2.0", "numba": "0.6"})]
    found = look(doctor_ranks.whats_different, ranks)
    assert [f.state for f in found] == [PROBLEM, PROBLEM]
    assert "numpy is 2.4 on ranks 0-1 (a), 2.0 on rank 2 (b)" in found[0].text
    assert found[0].cure == "pip install 'numpy==2.4'"
    assert "numba is nothing on ranks 0-1 (a), 0.6 on rank 2 (b)" in found[1].text


def test_numerics_and_variables_that_differ_are_notes():
    ranks = [
        RANK,
        replace(RANK, numerics=RANK.numerics | {"NumPy": "y"}),
        replace(RANK, variables={}),
    ]
    texts = [f.text for f in look(doctor_ranks.whats_different, ranks) if f.state == NOTE]
    assert "NumPy is x on ranks 0, 2 (a), y on rank 1 (a)" in texts[0]
    assert "OMP_NUM_THREADS is 1 on ranks 0-1 (a), nothing on rank 2 (a)" in texts[1]


def test_what_is_each_ranks_own_may_differ():
    ranks = [RANK, replace(RANK, variables=RANK.variables | {"DISTGRAD_THREADS_AUTO": "1"})]
    assert [f.state for f in look(doctor_ranks.whats_different, ranks)] == [OK]


def test_ranks_that_share_a_core_are_a_problem():
    ranks = [RANK, replace(RANK, cores="1"), replace(RANK, host="b")]
    finding = the_one(doctor_ranks.which_cores, ranks, state=OK)
    assert finding.text == "cores of the first host: rank 0 on core 0, rank 1 on core 1"
    assert (
        "ranks 0-1 share core 0 of a, so"
        in the_one(doctor_ranks.which_cores, [RANK, RANK, ranks[2]], state=PROBLEM).text
    )


def test_a_rank_with_more_threads_than_cores_is_a_problem():
    two = replace(RANK, cores="1", numerics={"BLAS": [{"num_threads": 2}]})
    finding = the_one(doctor_ranks.which_cores, [RANK, two], state=PROBLEM)
    assert finding.text.startswith("rank 1 has 2 threads on 1 core")


@pytest.mark.parametrize("places", [("x", "y"), ("", "")])
def test_ranks_of_one_host_that_share_no_memory_are_a_problem(places):
    ranks = [replace(RANK, place=place) for place in places]
    finding = the_one(doctor_ranks.who_shares_memory, ranks, state=PROBLEM)
    assert finding.text.startswith("ranks 0-1 are all on a and do not share its memory")
    assert look(doctor_ranks.who_shares_memory, [RANK, RANK, replace(RANK, host="b", place="")])


def test_an_eager_limit_that_is_short_is_a_note():
    name = "OMPI_MCA_btl_tcp_eager_limit"
    finding = the_one(doctor_ranks.what_waits, {name: "65536"}, CLUSTER, state=NOTE)
    assert finding.cure.startswith(f"unset {name}")
    assert (
        "up to 4 MiB" in the_one(doctor_ranks.what_waits, {name: "4194304"}, CLUSTER, state=OK).text
    )
    assert "the MPI's choice" in the_one(doctor_ranks.what_waits, {}, CLUSTER, state=OK).text


def test_of_what_ranks_find_only_what_is_new_is_shown():
    def rank(host, *findings):
        return replace(RANK, host=host, findings=[vars(replace(f, check="c")) for f in findings])

    fast, slow = ok("fast", "1 s"), note("slow", "cure", "2 s")
    ranks = [rank("a", fast), rank("a", fast, slow), rank("b", problem("bad", "cure"))]
    told = [f.text for f in doctor_report.of_ranks(ranks, [])]
    assert told == ["ranks 0-1 on a: fast", "rank 1 on a: slow", "rank 2 on b: bad"]
    same = [rank("a", fast, slow)] * 2
    assert [f.text for f in doctor_report.of_ranks(same, [])] == ["all ranks: slow"]
    (finding,) = doctor_report.of_ranks(same, [replace(slow, check="c")])
    assert finding.state == OK
    assert finding.text == "each rank finds on its own what was found above"


# -- what is measured, on simulated ranks ---------------------------------------------------------


def on_ranks(measure, size, names=None):
    """Return what every simulated rank finds, on hosts of these names."""

    def body():
        comm = Communicator(connect())
        if names:
            comm.transport.host = names[comm.rank]
        return [*measure(comm)]

    return run_ranks(size, body)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_sums_are_measured_and_right(size):
    found = on_ranks(doctor_ranks.how_fast_sums_are, size)
    assert {f.state for (f,) in found} == {OK}
    assert all(("4 MiB in" in f.figures) == (size > 1) for (f,) in found)


def test_clocks_that_are_apart_are_a_note(monkeypatch):
    clock = itertools.count(0, 10)
    monkeypatch.setattr(doctor_ranks, "time", SimpleNamespace(time=lambda: next(clock)))
    found = on_ranks(doctor_ranks.how_far_clocks_are, 3, ["a", "b", "c"])
    assert {(f.state, f.figures) for (f,) in found} == {(NOTE, "20 s")}
    monkeypatch.setattr(doctor_ranks, "time", SimpleNamespace(time=lambda: 7.0))
    assert {f.state for (f,) in on_ranks(doctor_ranks.how_far_clocks_are, 2, ["a", "b"])} == {OK}
    assert on_ranks(doctor_ranks.how_far_clocks_are, 2) == [[], []]  # they have one clock


def test_latency_is_that_of_a_message_and_the_same_on_all_ranks():
    found = run_ranks(4, lambda: doctor_network.latency(dg.init().comm, 1, 3))
    assert len({*found}) == 1
    assert 0 < found[0] < 1


RATES = {
    "fast": ({"a": 1e9, "b": 1e9, "c": 1e9}, OK, "rates of the hosts"),
    "one slow": ({"a": 1e9, "b": 1e7, "c": 1e9}, PROBLEM, "the network of host b is slow"),
    "all slow": ({"a": 1e7, "b": 1e7, "c": 1e7}, NOTE, "the network is slow"),
}


@pytest.mark.parametrize("name", RATES)
def test_a_slow_network_is_named(name, monkeypatch):
    rates, state, text = RATES[name]
    monkeypatch.setattr(doctor_network.network, "measure", lambda comm, hosts: rates)
    monkeypatch.setattr(doctor_network, "_FAR", 60.0)
    found = on_ranks(doctor_network.how_fast_the_network_is, 4, ["a", "a", "b", "c"])
    for near, far in found:
        assert near.state == OK
        assert far.state == state
        assert far.text.startswith(text)
        assert "b 80 Mbit/s" in far.figures or name == "fast"
    assert on_ranks(doctor_network.how_fast_the_network_is, 2) == [[], []]  # one host has none


def test_a_host_that_is_far_is_a_note(monkeypatch):
    seconds = {1: 1e-5, 2: 3e-3}
    monkeypatch.setattr(doctor_network, "latency", lambda comm, one, other: seconds[other])
    found = on_ranks(doctor_network.how_fast_the_network_is, 3, ["a", "b", "c"])
    assert {near.state for near, _ in found} == {NOTE}
    assert {near.cure for near, _ in found} == {"ping -c 5 c"}


# -- a job, simulated -----------------------------------------------------------------------------


def job(monkeypatch, capsys, size=3, as_ranks=False):
    """Return the statuses of simulated ranks that look, and what was printed."""
    options = argparse.Namespace(json=None, as_ranks=as_ranks)
    monkeypatch.setattr(cores, "crowds", lambda places: ())  # there may be one core

    def body():
        comm = Communicator(connect())
        mine = [Finding(NOTE, f"of rank {comm.rank}", "cure", check="own")]
        return doctor.examine_job(options, comm, mine, 0.5)

    return run_ranks(size, body), capsys.readouterr().out


@pytest.mark.parametrize(
    ("environ", "first"),
    [
        ({}, True),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "0"}, True),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1"}, False),
        ({"MPI_LOCALRANKID": "2"}, False),
        ({"SLURM_LOCALID": "0"}, True),
    ],
)
def test_what_a_host_has_only_its_first_rank_looks_at(environ, first):
    assert launchers.first_of_node(environ) == first
    options = argparse.Namespace(checkpoints=".")
    checks = doctor._checks_of_a_process(options, launchers.first_of_node(environ))
    assert checks.keys() >= doctor.PER_RANK.keys()
    assert (checks.keys() >= {*doctor.PER_HOST, "checkpoints"}) == first


def test_rank_0_tells_what_all_have_found(monkeypatch, capsys):
    statuses, said = job(monkeypatch, capsys)
    assert statuses == [0, 0, 0]
    assert re.search(r"^ok +ranks +3 ranks on 1 host found each other", said, re.MULTILINE)
    assert re.search(r"^note +own +rank 2 on \S+: of rank 2$", said, re.MULTILINE)
    assert said.count("of rank 0") == said.count("of rank 1") == 1
    assert re.search(r"^ok +sums +all_reduce", said, re.MULTILINE)
    assert "3 notes: nothing is wrong" in said


def test_a_measurement_that_fails_ends_the_measuring_and_keeps_the_rest(monkeypatch, capsys):
    def fails(comm):
        raise CommError("a sum is wrong")

    monkeypatch.setattr(doctor_ranks, "how_fast_sums_are", fails)
    monkeypatch.setattr(doctor_ranks, "how_far_clocks_are", lambda comm: pytest.fail("went on"))
    statuses, said = job(monkeypatch, capsys)
    assert statuses == [1, 0, 0]
    assert "the check itself failed: CommError: a sum is wrong" in said
    assert "3 ranks on 1 host found each other" in said


# -- the real thing -------------------------------------------------------------------------------


def start(*command, env=()):
    """Run a command outside of any job, as a user would."""
    mpirun(2)  # or skip
    environ = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environ.pop("OPENBLAS_CORETYPE", None)  # a forced one is a problem
    return subprocess.run(
        command, env=environ | dict(env), capture_output=True, text=True, timeout=100, check=False
    )


DOCTOR = (sys.executable, "-m", "distgrad", "doctor")
KEYS = {"format", "distgrad", "count", "versions", "variables", "findings"}


def check_schema(report):
    assert report.keys() == KEYS
    assert report["format"] == 1
    assert report["distgrad"] == dg.__version__ == report["versions"]["distgrad"]
    assert [*report["count"]] == [*STATES]
    assert sum(report["count"].values()) == len(report["findings"])
    for finding in report["findings"]:
        assert finding.keys() == {"state", "text", "cure", "figures", "check"}
        assert all(isinstance(value, str) for value in finding.values())
        assert finding["state"] in STATES
        assert bool(finding["cure"]) == (finding["state"] != OK)
    assert all(isinstance(v, str) for v in [*report["versions"].values()])


def test_two_ranks_are_started_and_tell_what_they_find_as_json(tmp_path):
    path = tmp_path / "report.json"
    done = start(*DOCTOR, "-n", "2", "--json", str(path), "--checkpoints", str(tmp_path))
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(path.read_text())
    check_schema(report)
    assert done.returncode == (report["count"]["problem"] > 0)
    texts = {f["check"]: f["text"] for f in report["findings"]}
    assert texts["ranks"] == "each rank finds on its own what was found above" or "all" in str(
        texts
    )
    assert any("2 ranks on 1 host found each other" in f["text"] for f in report["findings"])
    assert {"sums", "binding", "same", "MPI", "BLAS"} <= texts.keys()
    assert "sums right" in texts["sums"]
    lines = [
        line for line in done.stdout.splitlines() if line[:4].strip() in ("ok", "note", "prob")
    ]
    assert len(lines) == len(report["findings"])


@pytest.mark.parametrize("size", [2, 3])
def test_it_looks_from_the_ranks_that_mpirun_started(size):
    done = start(*mpirun(size), *DOCTOR, "--json")
    text = done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1]
    report = json.loads(text)  # once: ranks do not talk over each other
    check_schema(report)
    assert any(f"{size} ranks on 1 host found" in f["text"] for f in report["findings"])
    assert "Traceback" not in done.stderr


MPIRUNS = {
    "fails": ("echo 'no slots available' >&2; exit 3", "status 3: no slots available"),
    "says much": (
        "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i >&2; done; exit 1",
        "line 1 line 2 line 3 line 4 … line 7 line 8 line 9 line 10",
    ),
    "starts others": (
        'while [ "$1" != -n ]; do shift; done; shift 2; "$@" & "$@"; wait',
        "mpirun started 2 processes, each of which sees 1 rank(s): it is another MPI's",
    ),
    "ends early": ("exit 0", "the ranks ended with status 0"),
    "hangs": ("exec sleep 60", "the ranks have not come to an end in 1 s"),
}


@pytest.mark.parametrize("name", MPIRUNS)
def test_an_mpirun_that_does_not_start_ranks_is_a_problem(name, tmp_path, monkeypatch, capsys):
    script, said = MPIRUNS[name]
    fake = tmp_path / "mpirun"
    fake.write_text(
        f"#!/bin/sh\ncase $1 in --version) echo 'mpirun (Open MPI) 5.0'; exit;; esac\n{script}\n"
    )
    fake.chmod(0o755)
    for variable in [k for k in os.environ if k.startswith(LAUNCHER)]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(launchers, "find_mpirun", lambda: str(fake))
    monkeypatch.setattr(doctor, "PER_RANK", {})
    monkeypatch.setattr(doctor, "PER_HOST", {})
    if name == "hangs":
        monkeypatch.setattr(doctor, "_JOB", 1.0)
    (tmp_path / "hosts").write_text("localhost slots=2\n")
    where = ["--hostfile", str(tmp_path / "hosts")] if name == "says much" else []
    assert cli.main(["doctor", "-n", "2", *where]) == 1
    out = capsys.readouterr().out
    lines = [x for x in out.splitlines() if re.match("problem +ranks ", x)]
    assert len(lines) == 1
    assert said in lines[0]
    assert f"cure: {' '.join(['distgrad run -n 2', *where])} -m distgrad doctor" in out


def test_no_mpirun_leaves_the_rest_of_the_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in [k for k in os.environ if k.startswith(LAUNCHER)]:
        monkeypatch.delenv(variable)
    assert cli.main(["doctor", "-n", "2"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"^problem +ranks +no mpirun was found beside this Python", said, re.MULTILINE)
    assert re.search(r"^ok +cores ", said, re.MULTILINE)
    assert re.search(r"^problem +kernels .*python cannot be started", said, re.MULTILINE)


def test_words_that_cannot_work_are_refused_before_anything_is_looked_at(monkeypatch, capsys):
    for variable in [k for k in os.environ if k.startswith(LAUNCHER)]:
        monkeypatch.delenv(variable)
    assert cli.main(["doctor", "-n", "0"]) == 2
    assert cli.main(["doctor", "--json", "/nowhere/x.json"]) == 2
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--hostfile", "hosts"])
    printed = capsys.readouterr()
    assert not printed.out
    assert "-n 0: a job needs at least one rank" in printed.err
    assert "'/nowhere/x.json' cannot be written" in printed.err
    assert "--hostfile needs -n N" in printed.err


# -- what others may read -------------------------------------------------------------------------


def test_the_json_names_no_user_no_home_and_no_host(monkeypatch):
    monkeypatch.setenv("HOME", "/home/jane.doe")
    monkeypatch.setenv("LOGNAME", "jdoe")
    monkeypatch.setenv("PYTHONPATH", "/home/jane.doe/lib:/data/jdoe/lib:/home/jane.doe2")
    found = [
        Finding(NOTE, "/home/jane.doe/x belongs to jdoe on node17", "ls /home/jane.doe", check="c"),
        Finding(OK, "jdoes, node171 and /scratch/jdoe", figures="jdoe", check="c"),
    ]
    report = doctor_report.as_json(found, ["node17"])
    first, second = report["findings"]
    assert first["text"] == "~/x belongs to USER on host0"
    assert first["cure"] == "ls ~"
    assert second["text"] == "jdoes, node171 and /scratch/USER"
    assert second["figures"] == "USER"
    assert report["variables"]["PYTHONPATH"] == "~/lib:/data/USER/lib:/home/jane.doe2"
    assert "root" not in doctor_report.users()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_host_with_a_slow_network_is_named_on_real_hosts(tmp_path):
    program = tmp_path / "doctor.py"
    program.write_text("import sys\nfrom distgrad.cli import main\nsys.exit(main())\n")
    with hosts(3, "1gbit", tmp_path) as cluster:
        cluster.shape("host2", "100mbit")
        done = cluster.run(program, "doctor")
    assert "3 ranks on 3 hosts found each other" in done.out, done.err
    assert re.search(
        r"^problem +network +the network of host host2 is slow", done.out, re.MULTILINE
    )
    # How long they take is the machine's affair while other tests run beside this one.
    assert re.search(r"^(ok|note) +network +short messages from host0", done.out, re.MULTILINE)

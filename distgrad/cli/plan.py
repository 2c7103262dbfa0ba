"""``distgrad plan``: what a step would take on machines one does not have."""

from __future__ import annotations

import argparse
from dataclasses import replace

from distgrad.arguments import kinds_of, refuse
from distgrad.cli.outputs import check_outputs
from distgrad.errors import LaunchError, ShapeError
from distgrad.parallel.ddp import BUCKET_MB, DistributedDataParallel
from distgrad.plan import check, network, profile, report
from distgrad.plan.memory import state_elements
from distgrad.plan.model import load, updating
from distgrad.plan.predict import STRATEGIES

HELP = "predict step time, efficiency and memory on up to thousands of ranks"
_DEFAULT = network.Machine()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    what = parser.add_argument_group("the model")
    what.add_argument(
        "model",
        nargs="?",
        metavar="FILE.py:FUNCTION",
        help="a function that returns the model, or (model, loss), loss() being a step's forward "
        "pass, which is then measured",
    )
    what.add_argument("--parameters", metavar="N", help="in place of a model: 124M")
    what.add_argument("--layers", type=int, default=12, help="of those parameters (default: 12)")
    what.add_argument("--compute", metavar="TIME", help="forward and backward of a rank: 1.0, 90ms")
    what.add_argument("--optimizer", default="AdamW", help="of dg.optim (default: AdamW)")
    what.add_argument("--optimizer-time", metavar="TIME", default="0", help="of a step, with clip")
    where = parser.add_argument_group("the machine")
    where.add_argument("--nodes", type=int, help="(default: 1)")
    where.add_argument("--ranks-per-node", type=int, default=1, metavar="R")
    where.add_argument("--ranks", metavar="N,N,…", help="a sweep over so many ranks in all")
    where.add_argument("--bandwidth", default="25Gbit", help="of a node's link (default: 25Gbit)")
    where.add_argument("--latency", default="30us", help="between hosts (default: 30us)")
    where.add_argument("--memory-bandwidth", default="200GB", help="of a node (default: 200GB)")
    where.add_argument("--jitter", type=float, default=0.0, help="deviation of compute, as a part")
    how = parser.add_argument_group("the schedule")
    how.add_argument("--strategy", choices=STRATEGIES, action="append", help="(default: all)")
    how.add_argument("--algorithm", action="append", metavar="NAME", help="(default: all, or auto)")
    how.add_argument("--bucket-mb", type=float, default=BUCKET_MB, help=f"(default: {BUCKET_MB:g})")
    out = parser.add_argument_group("the result")
    out.add_argument(
        "--check",
        action="store_true",
        help="compare predictions with real steps on 1 to 4 ranks of this machine (a minute); "
        "without a model, those of a small one",
    )
    out.add_argument("--json", metavar="FILE", help="write the rows there too")
    out.add_argument("--plot", metavar="FILE", help="draw efficiency over ranks there (PNG)")


def work(options: argparse.Namespace) -> int:
    """Print the plan; return the exit status."""
    check_outputs(options.json, options.plot)
    if not options.jitter >= 0:
        raise ShapeError(f"--jitter {options.jitter}: a part of the compute time, as in 0.05")
    refuse("plan", kinds_of(DistributedDataParallel.__init__), [("bucket_mb", options.bucket_mb)])
    if options.ranks and options.nodes is not None:
        raise LaunchError(
            f"--nodes {options.nodes} --ranks {options.ranks}: a sweep takes as many nodes as its "
            f"ranks fill; leave --nodes out"
        )
    if options.model or options.parameters or not options.check:
        _print_plan(options)
    if options.check:
        trials = check.on_this_machine(options.model, options.optimizer)
        print(check.table(trials))
    else:
        print("\nNot checked: `distgrad plan --check` compares it with real steps on this machine.")
    return 0


def _print_plan(options: argparse.Namespace) -> None:
    steps = _profile(options)
    machine = _machine(options)
    found = report.rows(
        steps,
        machine,
        ranks=_ranks(options.ranks) or [machine.ranks],
        stages=[STRATEGIES.index(name) for name in options.strategy or STRATEGIES],
        algorithms=options.algorithm or (),
        elements=state_elements(options.optimizer),
        jitter=options.jitter,
    )
    made = "measured here, on one rank" if steps.measured else "spread by sizes, not measured"
    print(
        f"{steps.nbytes / 4e6:,.1f} M parameters in {len(steps.buckets)} buckets; a step alone "
        f"{steps.step * 1e3:,.1f} ms, its gradients' moments {made}\n"
    )
    print(report.table(found))
    if max(row.prediction.ranks for row in found) == 1:
        print("\nOne rank sends nothing: say how many there are, --nodes 4 --ranks-per-node 8")
    if options.json:
        report.write_json(options.json, found, machine)
    if options.plot:
        report.plot(options.plot, found)


def _machine(options: argparse.Namespace) -> network.Machine:
    return replace(
        _DEFAULT,
        nodes=1 if options.nodes is None else options.nodes,
        ranks_per_node=options.ranks_per_node,
        latency=network.seconds(options.latency),
        beta=1 / network.bytes_per_second(options.bandwidth),
        memory=1 / network.bytes_per_second(options.memory_bandwidth),
    )


def _ranks(text: str | None) -> list[int]:
    numbers = [] if text is None else text.split(",")
    if not all(number.strip().isdecimal() and int(number) for number in numbers):
        raise ShapeError(f"--ranks {text}: write numbers of ranks with commas, as in 1,2,4,1024")
    return [int(number) for number in numbers]


def _profile(options: argparse.Namespace) -> profile.Profile:
    if (options.model is None) == (options.parameters is None):
        raise LaunchError(
            "distgrad plan needs a model, as FILE.py:FUNCTION, or its size, as --parameters 124M "
            "(one of them)"
        )
    named, loss = [], None
    if options.model is None:
        named = profile.blocks(network.count(options.parameters), options.layers)
    else:
        model, loss = load(options.model)
        named = list(model.named_parameters())
        if options.compute is None and loss is not None:
            update = updating(model, options.optimizer)
            return profile.measure(model, loss, update, bucket_mb=options.bucket_mb)
    if options.compute is None:
        raise LaunchError(
            "how long does a rank compute? Give --compute 1.0 (seconds of forward and backward), "
            "or a FUNCTION that returns (model, loss), which is then measured"
        )
    return profile.of_shapes(
        named,
        network.seconds(options.compute),
        optimizer=network.seconds(options.optimizer_time),
        bucket_mb=options.bucket_mb,
    )

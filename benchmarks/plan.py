"""What ``distgrad plan`` predicts beside what is measured, and what it says of 1,024 ranks.

Each job takes its own costs of the wire and its own profile, in turns with the real steps, so one
line stands by itself. ``--netbox PATH`` measures over hosts that this tool has brought up.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from distgrad.plan import check, report
from distgrad.plan.network import Machine
from distgrad.plan.profile import of_shapes

WORKERS = Path(__file__).resolve().parent / "workers"
sys.path[:0] = [str(WORKERS.parents[1] / "examples")]
import models  # noqa: E402 (found by the line above)

STEPS = {"mlp": 12, "cnn": 6, "gpt": 2}
IN_A_NODE = [*check.ONE_NODE]
OVER_HOSTS = [{"algorithm": "ring"}, {"algorithm": "tree"}, {"zero": 1}]
CLUSTER = Machine(nodes=64, ranks_per_node=16, beta=8 / 25e9)
BUCKETS = (4, 16, 64)
LARGE = {
    "GPT 10.8 M": lambda: models.GPT(65, 256, layers=6, heads=6, width=384),
    "GPT 124 M": lambda: models.GPT(50257, 1024, layers=12, heads=12, width=768),
}


def over(netbox: str) -> check.Launch:
    def launch(ranks: int) -> list[str]:
        job = [netbox, "mpirun", "-n", str(ranks), "--map-by", "node", "-x", "PYTHONPATH"]
        return [*job, "-x", "OMP_NUM_THREADS=1", "-x", "OPENBLAS_NUM_THREADS=1", sys.executable]

    return launch


def measured(args: argparse.Namespace) -> None:
    launch = over(args.netbox) if args.netbox else check.local
    usual = OVER_HOSTS if args.netbox else IN_A_NODE
    settings = [json.loads(text) for text in args.settings or ()] or usual
    trials = []
    for name in args.models:
        for ranks in args.ranks:
            model = f"{WORKERS / 'workloads.py'}:{name}_step"
            used = settings if ranks > 1 else settings[:1]
            steps = STEPS[name]
            found = check.run(launch, ranks, model, "AdamW", used, steps=steps, name=name)
            print("\n".join(check.table(found).splitlines()[:-1]), flush=True)
            trials += found
    print(check.table(trials).splitlines()[-1])


def modelled() -> None:
    for name, make in LARGE.items():
        named = list(make().named_parameters())
        for bucket_mb in BUCKETS:
            profile = of_shapes(named, 1.0, bucket_mb=bucket_mb)
            found = report.rows(profile, CLUSTER, ranks=[CLUSTER.ranks])
            print(f"{name}, 1 s of compute, 64 x 16 ranks, 25 Gbit/s, buckets of {bucket_mb} MiB")
            print(report.table(found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--netbox", metavar="PATH", help="measure over its hosts")
    parser.add_argument(
        "--settings",
        nargs="+",
        metavar="JSON",
        help="of DistributedDataParallel, as '{\"zero\": 1}'; in place of the algorithms",
    )
    parser.add_argument("--modelled", action="store_true", help="only the 1,024 ranks")
    args = parser.parse_args()
    if not args.modelled:
        measured(args)
    modelled()


if __name__ == "__main__":
    main()

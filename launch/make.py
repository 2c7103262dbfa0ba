"""Writes the scheduler scripts of launch/ from the templates of ``distgrad submit``.

python launch/make.py [--check]     # --check writes nothing, and fails where a script is not theirs
"""

from __future__ import annotations

import argparse
import difflib
from dataclasses import replace
from pathlib import Path

from distgrad.cli.schedulers import SCHEDULERS, Job, write

LAUNCH = Path(__file__).parent

PERSISTENT = [
    "--shards",
    "8",
    "--checkpoint",
    "{checkpoint}",
    "--every",
    "50",
    "--resume",
    "--json",
]
JOB = Job(
    name="distgrad",
    ranks=8,
    nodes=2,
    seconds=3600,
    program=["examples/train.py", *PERSISTENT],
    more=['"$@"'],
    head=[],
    bin="${VENV:-$PWD/.venv}/bin",
)
ARGS = (
    "",
    "# $ARGS is read as the shell reads a line: a word with spaces stands in quotes.",
    'eval "set -- ${ARGS:-}"',
)

SLURM = """\
distgrad on a Slurm cluster: two nodes, four ranks each. Submit it from the repository's folder,
on a file system that all nodes share:

  sbatch launch/slurm.sbatch --data fashion-mnist --epochs 20    # options of examples/train.py
  CHECKPOINT=checkpoints/mine sbatch launch/slurm.sbatch         # go on from an earlier job"""

PBS = """\
distgrad under PBS Professional or OpenPBS: two nodes, four ranks each. Submit it from the
repository's folder, on a file system that all nodes share:

  qsub launch/pbs.sh
  qsub -v ARGS="--data fashion-mnist --epochs 20" launch/pbs.sh   # options of examples/train.py
  qsub -v ARGS="--checkpoint 'a folder'" launch/pbs.sh            # quotes as in the shell"""

CHAIN = """\
  first=$(qsub -v CHECKPOINT=checkpoints/mine launch/pbs.sh)
  qsub -v CHECKPOINT=checkpoints/mine -W depend=afternotok:$first launch/pbs.sh"""

LSF = """\
distgrad under IBM Spectrum LSF: eight ranks, four on each host. Submit it from the repository's
folder, on a file system that all hosts share:

  bsub <launch/lsf.sh
  ARGS="--data fashion-mnist --epochs 20" bsub <launch/lsf.sh    # options of examples/train.py
  ARGS="--seed 1 --checkpoint 'a folder'" bsub <launch/lsf.sh    # quotes as in the shell"""

GRID_ENGINE = """\
distgrad under Grid Engine (Sun, Son of, Altair): eight ranks. Submit it from the repository's
folder, on a file system that all hosts share:

  qsub launch/gridengine.sh --data fashion-mnist --epochs 20     # options of examples/train.py
  qsub -v CHECKPOINT=checkpoints/mine launch/gridengine.sh       # go on from an earlier job"""

KUBERNETES = """\
distgrad on Kubernetes, with Kubeflow's MPI Operator (API v2beta1): four workers with two ranks
each. Build and push the image of launch/Dockerfile, set its name in the two `image:` lines and
the storage class below, then:

  kubectl apply -f launch/kubernetes-mpijob.yaml
  kubectl logs -f job/distgrad-launcher"""

JOBS = {
    "slurm": replace(JOB, head=SLURM.splitlines()),
    "pbs": replace(JOB, head=PBS.splitlines(), chain=CHAIN.splitlines(), arguments=ARGS),
    "lsf": replace(JOB, head=LSF.splitlines(), arguments=ARGS),
    "sge": replace(JOB, head=GRID_ENGINE.splitlines()),
    "k8s": replace(
        JOB,
        head=KUBERNETES.splitlines(),
        nodes=4,
        seconds=86400,
        image="REGISTRY/distgrad",
        program=["examples/train.py", "--data", "digits", *PERSISTENT],
    ),
}


def main() -> int:
    """Write the scripts, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    status = 0
    for key, job in JOBS.items():
        path = LAUNCH / SCHEDULERS[key].template
        text = write(SCHEDULERS[key], job)
        if not check:
            path.write_text(text, encoding="utf-8")
            continue
        there = path.read_text(encoding="utf-8")
        changes = difflib.unified_diff(
            there.splitlines(), text.splitlines(), path.name, lineterm=""
        )
        for line in changes:
            print(line)
            status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main())

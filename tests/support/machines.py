"""A machine with an MPI of one kind, on which ``distgrad run --dry-run`` is tried."""

import os
import shlex
import sys

from distgrad import cli
from distgrad.comm import launchers

VERSIONS = {
    "Open MPI": "mpirun (Open MPI) 5.0.11",
    "MPICH": "HYDRA build details:\n    Version: 4.3.0",
}
UNSET = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "DISTGRAD_THREADS_AUTO", "SLURM_JOB_ID")
UNSET += ("DISTGRAD_TUNING", "DISTGRAD_FUSED", "DISTGRAD_CACHE", "DISTGRAD_DATA")


class Machine:
    """A machine of 8 cores with an MPI of one kind, on which dry runs are made."""

    def __init__(self, folder, monkeypatch, capsys):
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.script = folder / "train.py"
        self.script.write_text("print('ran')")
        monkeypatch.setattr(sys, "executable", str(self.bin / "python"))
        monkeypatch.setattr(launchers, "cores", lambda: 8)
        self.user(1000)
        for name in UNSET:
            monkeypatch.delenv(name, raising=False)

    def user(self, uid):
        self.monkeypatch.setattr(os, "geteuid", lambda: uid)

    def install(self, kind, folder=None):
        mpirun = (folder or self.bin) / "mpirun"
        mpirun.write_text(f"#!/bin/sh\necho '{VERSIONS[kind]}'\n")
        mpirun.chmod(0o755)
        return str(mpirun)

    def dry_run(self, *arguments):
        """Return (variables, mpirun's arguments, program) of the line printed."""
        status = cli.main(["run", "--dry-run", *arguments])
        printed = self.capsys.readouterr()
        assert status == 0, printed.err
        (line,) = printed.out.splitlines()
        words = shlex.split(line)
        start = next(i for i, w in enumerate(words) if w.endswith("mpirun"))
        program = words.index(str(self.bin / "python"))
        return dict(w.split("=", 1) for w in words[:start]), words[start:program], words[program:]

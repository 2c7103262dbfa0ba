"""What each rank of ``launch`` runs: ``python -m distgrad.launch.rank FOLDER``."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from distgrad.comm import launchers
from distgrad.launch.handover import CALL, write_failure, write_result


def main() -> None:
    """Call the function that was handed over, and hand back what comes of it."""
    folder = Path(sys.argv[1])
    started = launchers.started(os.environ)
    rank = 0 if started is None else started.rank
    try:
        with open(folder / CALL, "rb") as file:
            sys.path[:] = pickle.load(file)
            function, args = pickle.load(file)
        result = function(*args)
        if rank == 0:
            write_result(folder, result)
    except Exception as error:
        write_failure(folder, rank, error)
        raise


if __name__ == "__main__":
    main()

"""The files through which ``launch`` and its ranks hand each other calls, results, exceptions."""

from __future__ import annotations

import pickle
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distgrad.errors import LaunchError, PeerFailedError

CALL = "call"
_RESULT, _FAILED = "result", "failed-"


@dataclass(frozen=True)
class Failure:
    """An exception that has ended a rank."""

    rank: int
    moment: float
    follows: bool
    """Whether it only says that another rank has failed."""
    traceback: str
    last_line: str
    pickled: bytes
    """Empty if it could not be."""

    def exception(self) -> Exception:
        """Return the exception, or a LaunchError where it cannot be had here."""
        try:
            found = pickle.loads(self.pickled)
        except Exception:  # whatever an exception's own constructor raises
            found = None
        return found if isinstance(found, Exception) else LaunchError(self.last_line)


def write_failure(folder: Path, rank: int, error: Exception) -> None:
    """Leave an exception for the caller."""
    try:
        pickled = pickle.dumps(error)
    except Exception:  # it holds something that cannot be; its words remain
        pickled = b""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    last = traceback.format_exception_only(type(error), error)[-1].rstrip()
    follows = isinstance(error, PeerFailedError)
    failure = Failure(rank, time.time(), follows, text, last, pickled)
    (folder / f"{_FAILED}{rank}").write_bytes(pickle.dumps(failure))


def failures(folder: Path) -> list[Failure]:
    """Return what ranks have left, the first that failed first."""
    found: list[Failure] = [pickle.loads(p.read_bytes()) for p in folder.glob(f"{_FAILED}*")]
    return sorted(found, key=lambda failure: (failure.follows, failure.moment))


def write_result(folder: Path, result: Any) -> None:
    """Leave rank 0's result for the caller. Errors: LaunchError if it cannot be pickled."""
    known = find_spec("cloudpickle") is not None
    module = import_module("cloudpickle") if known else pickle
    try:
        data = module.dumps(result)
    except Exception as error:  # whatever an object's own __reduce__ raises
        raise LaunchError(
            f"what the function returns on rank 0, a {type(result).__name__}, cannot be handed "
            f"back ({type(error).__name__}: {error}): return numbers, arrays or a state_dict"
        ) from error
    (folder / _RESULT).write_bytes(data)


def read_result(folder: Path) -> Any:
    """Return rank 0's result. Errors: LaunchError if it has left none."""
    try:
        data = (folder / _RESULT).read_bytes()
    except FileNotFoundError:
        raise LaunchError(
            "rank 0 ended without a result, as by sys.exit: let the function return"
        ) from None
    return pickle.loads(data)

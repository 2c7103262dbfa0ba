"""Every exception distgrad raises on purpose.

DistgradError
├── ShapeError (ValueError)      arrays that do not fit together
├── GradError                    backward asked for what the graph cannot give
├── CaptureError                 a step that cannot be captured, or has changed since it was
├── NonFiniteError               a NaN or infinity where training cannot go on
├── DataError (ValueError)       a data set that is empty, missing, or damaged
├── CheckpointError              a checkpoint that cannot be written or trusted
├── LaunchError                  the job was started in a way that cannot work
└── CommError                    something went wrong on the wire
    ├── DeadlockError            every rank waits for another
    ├── MismatchError            ranks disagree about what they are doing
    ├── PeerFailedError          another rank left or died
    └── CommTimeoutError         the watchdog's patience ran out

Interrupted (KeyboardInterrupt, SystemExit)  Ctrl-C, after the step and its checkpoint: no error

A message says what was asked, what was found (names and numbers) and what to do.
"""

from __future__ import annotations


class DistgradError(Exception):
    """The root: ``except DistgradError`` catches everything raised on purpose."""

    of_all_ranks = False
    """Whether every rank has raised it, so that rank 0's traceback stands for all."""

    def everywhere(self) -> DistgradError:
        """Return the error, as one that every rank raises."""
        self.of_all_ranks = True
        return self


class ShapeError(DistgradError, ValueError):
    """Arrays, labels or parameters whose shapes or values do not fit the operation."""


class GradError(DistgradError):
    """A gradient was asked for that the recorded graph cannot give."""


class CaptureError(DistgradError):
    """A step does what its replay could not do again, or does something else than when captured."""


class NonFiniteError(DistgradError):
    """A loss or gradient is NaN or infinite and the policy is to raise."""


class DataError(DistgradError, ValueError):
    """A data set is empty, cannot be found, or does not match its checksum."""


class CheckpointError(DistgradError):
    """A checkpoint cannot be written, is damaged, or belongs to another model."""


class LaunchError(DistgradError):
    """The job was started in a way that cannot work: wrong MPI, too many ranks, no launcher."""


class CommError(DistgradError):
    """Communication between ranks failed."""


class DeadlockError(CommError):
    """Every rank waits for a message that no rank will send."""


class MismatchError(CommError):
    """Ranks disagree: another collective, shape, dtype, parameter or setting."""


class PeerFailedError(CommError):
    """Another rank finished, failed or disappeared while this one needed it."""


class CommTimeoutError(CommError):
    """A wait lasted longer than the watchdog allows."""


class Interrupted(KeyboardInterrupt, SystemExit):
    """Training was stopped by Ctrl-C, on all ranks after the same step, and saved if it could be.

    ``except KeyboardInterrupt`` catches it. Uncaught, it ends the rank as SystemExit does: without
    a traceback, with status 130.
    """

    code = 130

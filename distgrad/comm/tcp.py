"""Open MPI's settings for messages over TCP: none has to wait for its receiver to look.

Above a limit (64 KiB by default) a message waits for a handshake that a receiver answers when it
next calls MPI, which a rank that computes does late. Below it the message goes into the kernel's
socket buffers and on to the receiver's host while both ranks compute. What comes before it is
wanted the receiver keeps: at most its slices of the collectives that the sender has begun, which
in training are those of one batch's gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

LIMIT = 4 << 20
"""Bytes of the longest message that needs no handshake, headers included."""
_LIMITS = ("btl_tcp_eager_limit", "btl_tcp_rndv_eager_limit", "btl_tcp_max_send_size")
# Whoever chose another way for the messages, or how long they are over TCP, knows better.
_CHOSEN = ("OMPI_MCA_mtl", *(f"OMPI_MCA_{name}" for name in _LIMITS))
_OTHER_WAYS = ("ucx", "cm", "ubcl")  # for InfiniBand and the like: they do not use TCP's settings


def set_limits(environ: MutableMapping[str, str]) -> None:
    """Raise the limits in the environment of a process that has not started MPI yet.

    They are read where TCP carries the messages, and only there. Nothing is changed that the user
    has set, in the environment or in a file of Open MPI's.
    """
    way = environ.get("OMPI_MCA_pml", "")
    carrier = environ.get("OMPI_MCA_btl", "tcp")
    if any(name in environ for name in _CHOSEN) or any(other in way for other in _OTHER_WAYS):
        return
    if ("tcp" not in carrier) != carrier.startswith("^") or _in_a_file(environ):
        return
    environ.update({f"OMPI_MCA_{name}": str(LIMIT) for name in _LIMITS})


def _in_a_file(environ: Mapping[str, str]) -> bool:
    """Whether one of the limits stands in a file of parameters."""
    for path in _files(environ):
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        if any(line.partition("=")[0].strip() in _LIMITS for line in lines):
            return True
    return False


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    for folder in filter(None, [environ.get("HOME")]):
        yield Path(folder) / ".openmpi" / "mca-params.conf"
    if prefix := environ.get("OPAL_PREFIX"):
        yield Path(prefix) / "etc" / "openmpi-mca-params.conf"
    for name in filter(None, environ.get("OMPI_MCA_mca_base_param_files", "").split(":")):
        yield Path(name)

"""The one device there is. PyTorch's ``device=`` is taken wherever it says the CPU."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from distgrad.errors import DistgradError
from distgrad.kinds import Kind


def _is_cpu(where: Any) -> bool:
    return where is None or isinstance(where, device) or where in ("cpu", "cpu:0")


Device: TypeAlias = Annotated[
    "device | str | None", Kind("'cpu' or None (models run on CPUs, on all ranks)", _is_cpu, (str,))
]


class device:  # noqa: N801 (PyTorch's name)
    """``dg.device("cpu")``: where every Tensor lives.

    Errors: DistgradError for another device.
    """

    type = "cpu"
    index: int | None = None

    def __init__(self, type: Device = "cpu", index: int | None = None) -> None:
        on_cpu(type)
        if index not in (None, 0):
            raise DistgradError(f"there is one CPU device; got index {index}: write device('cpu')")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) or other == "cpu"

    def __hash__(self) -> int:
        return hash("cpu")

    def __str__(self) -> str:
        return "cpu"

    def __repr__(self) -> str:
        return "device(type='cpu')"


def on_cpu(where: Any) -> None:
    """Take what PyTorch calls a device if it is the CPU. Errors: DistgradError for any other."""
    if _is_cpu(where):
        return
    raise DistgradError(
        f"device={str(where)!r}: distgrad computes on CPUs, on as many ranks as there are, and "
        f"there are no GPUs here; leave it out, or write device='cpu'. dg.cuda.is_available() is "
        f"False, so that `device = 'cuda' if torch.cuda.is_available() else 'cpu'` goes through"
    )


CPU = device()

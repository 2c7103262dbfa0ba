"""PyTorch's DataParallel, which is not here, and says what is."""

from __future__ import annotations

from typing import Any

from distgrad.errors import DistgradError
from distgrad.nn.module import Module


class DataParallel(Module):
    """One process and several GPUs: not here. Errors: DistgradError, always."""

    def __init__(
        self, module: Any, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ) -> None:
        raise DistgradError(
            "DataParallel spreads a batch over the GPUs of one process; here ranks are processes: "
            "write ddp = dg.DistributedDataParallel(model), and start the program with "
            "`distgrad run -n 4` or mpirun"
        )

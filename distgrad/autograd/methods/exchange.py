"""How other libraries take a tensor's memory without a copy: DLPack, the array API's protocol."""

from __future__ import annotations

from typing import Any

from distgrad.autograd.types import Array


class Exchange:
    """``torch.from_dlpack(t)``, ``np.from_dlpack(t)``, ``jax.dlpack.from_dlpack(t)``."""

    __slots__ = ()

    array: Array
    requires_grad: bool

    def __dlpack__(self, **settings: Any) -> Any:
        """Return the array's capsule: whoever takes it shares the memory.

        Errors: BufferError where gradients are required, which the other library would not see,
        and for memory that cannot be written to, which it would write to.
        """
        if self.requires_grad:
            raise BufferError(
                "DLPack of a Tensor that requires gradients would silently cut the gradient; pass "
                ".detach() if that is meant"
            )
        if not self.array.flags.writeable:
            raise BufferError(
                "DLPack of a Tensor whose memory is read-only (a broadcast, or shared between "
                "ranks): pass .clone()"
            )
        return self.array.__dlpack__(**settings)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return (1, 0): the CPU."""
        kind, number = self.array.__dlpack_device__()
        return int(kind), int(number)

"""A number that a step computes beside the tape: known when it runs, and not before."""

from __future__ import annotations

from typing import Any, NoReturn

from distgrad.capture.guard import refuse_reading


class Later:
    """Stands for value ``number`` while the step is recorded; may be returned, not used."""

    __slots__ = ("held", "number")

    def __init__(self, number: int, held: Any) -> None:
        self.number = number
        self.held = held
        """What it was when the step was recorded, for functions that are called apart."""

    def refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise CaptureError naming the user's line."""
        refuse_reading("uses a number that each step computes anew")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse()


for _name in [
    "bool",
    "float",
    "int",
    "index",
    "complex",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "neg",
    "abs",
    "radd",
    "rsub",
    "rmul",
    "rtruediv",
    "rpow",
    "round",
    "str",
    "repr",
    "format",
    "array",
]:
    setattr(Later, f"__{_name}__", Later.refuse)

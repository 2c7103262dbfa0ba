"""PyTorch's functions by PyTorch's names: ``dg.cat``, ``dg.zeros``, ``dg.max(x, 1)``.

Here names, order of arguments, positions and results are PyTorch's; ``np.…`` on a Tensor is always
NumPy's. Each is composed of ops. One whose first argument is ``input`` is a method of Tensors too
(unless these have one of that name); those in a family's IN_PLACE have a twin with an underscore,
those under ``@with_out`` take ``out=``. A family is a file, and says what is public in ``__all__``.
"""

from types import ModuleType

from distgrad.functions import (
    arithmetic,
    comparison,
    complex_numbers,
    copies,
    creation,
    decompositions,
    elementwise,
    fills,
    gamma,
    histograms,
    indexing,
    joining,
    logic,
    matrices,
    order,
    places,
    promotion,
    random,
    ranges,
    reductions,
    rounding,
    scans,
    shapes,
    signal,
    switches,
)
from distgrad.functions.install import by_kind, install

FAMILIES: list[ModuleType] = [
    creation,
    ranges,
    random,
    fills,
    elementwise,
    gamma,
    arithmetic,
    rounding,
    complex_numbers,
    copies,
    comparison,
    logic,
    reductions,
    scans,
    order,
    places,
    histograms,
    promotion,
    shapes,
    joining,
    indexing,
    matrices,
    decompositions,
    signal,
    switches,
]
IN_PLACE = install(FAMILIES)
"""The twins in place by name (``relu_``)."""


def names() -> list[str]:
    """Return the names that ``dg`` has from here."""
    return [*IN_PLACE, *(name for family in FAMILIES for name in family.__all__)]


__all__ = ["FAMILIES", "IN_PLACE", "by_kind", "install", "names"]

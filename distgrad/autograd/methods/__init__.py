"""The methods of a Tensor: NumPy's and PyTorch's names for the functions of the same name.

Where the two disagree ``spelling`` says which is meant; ``size`` and ``T`` are NumPy's properties.
"""

from distgrad.autograd.methods.calls import FUNCTIONS, METHODS, UFUNCS
from distgrad.autograd.methods.conversion import Conversion
from distgrad.autograd.methods.elementwise import Elementwise
from distgrad.autograd.methods.exchange import Exchange
from distgrad.autograd.methods.facts import Facts
from distgrad.autograd.methods.leaves import Leaves
from distgrad.autograd.methods.reductions import Reductions, ValuesAndIndices
from distgrad.autograd.methods.shapes import Shapes
from distgrad.autograd.methods.writing import Writing

__all__ = [
    "FUNCTIONS",
    "METHODS",
    "UFUNCS",
    "Conversion",
    "Elementwise",
    "Exchange",
    "Facts",
    "Leaves",
    "Methods",
    "Reductions",
    "Shapes",
    "ValuesAndIndices",
    "Writing",
]


class Methods(Reductions, Elementwise, Shapes, Conversion, Facts, Exchange, Leaves, Writing):
    """What a Tensor has besides its own; every method is recorded unless it says otherwise."""

    __slots__ = ()

"""What formulas of single numbers may use besides NumPy's functions; kernels compile them, too.

A formula is a function that gives the same numbers whether it is called with arrays (the reference)
or, compiled, with one element at a time (its twin). So it is written with +, -, *, /, comparisons,
``np.sqrt``, ``np.abs``, ``np.sign``, ``np.maximum``, ``np.minimum`` and what is here; a number in
it (but for a 0 that is compared with) is one of its arguments, so that it has the arrays' dtype,
and ``if`` asks such a number, never an element.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def where(condition: Any, yes: Any, no: Any) -> Any:
    """Return ``yes`` where ``condition`` holds, else ``no``."""
    return np.where(condition, yes, no)

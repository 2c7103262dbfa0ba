"""Functions beside the tape that come to calls of their own: they depend on what they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distgrad.capture.calls import Tape
from distgrad.capture.clipping import NORMS, total_norm
from distgrad.capture.forms import Form
from distgrad.capture.lines import Call
from distgrad.capture.tree import Leaf


def plainly(tape: Tape, line: Call, known: Mapping[int, Form]) -> Form | None:
    """Return the one result of a line; None of a function that is none of these.

    They are NumPy's ufuncs, joint norms, and what is made of settings alone.
    """
    if line.result is None or type(line.result.value) is not Leaf:
        return None
    if line.function in NORMS:
        return total_norm(tape, line, known)
    if hasattr(line.function, "ufunc"):
        return _of_ufunc(line, known)
    return _of_settings(tape, line)


def _of_settings(tape: Tape, line: Call) -> Form | None:
    given, settings = line.args.value
    if not getattr(line.function, "of_settings", False) or line.args.numbers:
        return None
    if settings.get("requires_grad") or settings.get("out") is not None:
        return None
    array: Any = line.function(*given, **settings).array
    always: Form = tape.constant(array)
    return always.copy()  # somebody may write there


def _of_ufunc(line: Call, known: Mapping[int, Form]) -> Form | None:
    given, settings = line.args.value
    inputs = [known[x.number] if type(x) is Leaf else x for x in given]
    forms = [x for x in inputs if isinstance(x, Form)]
    if settings or not forms or any(x.dtype != forms[0].dtype for x in forms):
        return None
    # A number beside others of another kind may be one of PyTorch's rules.
    plain = forms[0].dtype.kind == "f" or all(type(x) in (int, Form) for x in inputs)
    if not plain:
        return None
    found: Form = line.function.ufunc(*inputs)  # type: ignore[attr-defined]
    return found

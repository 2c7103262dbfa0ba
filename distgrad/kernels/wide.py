"""Vectors as wide as the CPU has them: LLVM takes half of them on Intel's CPUs. Imports numba.

The clock is lower by a tenth while they are used; but products use them anyway, and loops that
compute take 0.65 to 0.8 of the time (GELU and its kin, softmax, norms). What is computed element by
element has the same bits; sums have other ones, those of AMD's CPUs with AVX-512.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

_WIDE = '"prefer-vector-width"="512"'  # no more than there are


class WideCompiler(Compiler):  # type: ignore[misc]  # numba has no types
    """Compiles a kernel, what calls it from Python and what it inlines with wide vectors."""

    def define_pipelines(self) -> Any:
        """Do as numba does, with a library of our own."""
        state = self.state
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return super().define_pipelines()


class _Library(JITCodeLibrary):  # type: ignore[misc]
    def add_ir_module(self, module: Any) -> None:
        for function in module.functions:
            if not function.is_declaration:
                # llvmlite's own ``add`` knows no attributes with a value.
                set.add(function.attributes, _WIDE)
        super().add_ir_module(module)

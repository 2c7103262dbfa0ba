"""How numba compiles kernels: with vectors as wide as the CPU's, and parts once. Imports numba.

LLVM takes vectors of half the width on Intel's CPUs. The clock is lower by a tenth while whole ones
are used; but products use them anyway, and loops that compute take 0.65 to 0.8 of the time (GELU
and its kin, softmax, norms). What is computed element by element has the same bits; sums have other
ones, those of AMD's CPUs with AVX-512.

What is only a part of kernels is optimised, and made machine code, with each of these, not by
itself before: a fifth of the time that a process takes which finds no kernels.
"""

from __future__ import annotations

from typing import Any, ClassVar

from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import PassManager

_IDLE = {
    "AnnotateTypes",
    "DumpParforDiagnostics",
    "FindLiterallyCalls",
    "InlineClosureLikes",
    "InlineInlinables",
    "InlineOverloads",
    "LiteralPropagationSubPipelinePass",
    "LiteralUnroll",
    "MakeFunctionToJitFunction",
    "NopythonRewrites",
    "WithLifting",
}
"""Passes that would find nothing in a kernel: no functions inside, no expressions of arrays.

Without them a process that finds no kernels is ready in 0.92 of the time.
"""
_WIDE = '"prefer-vector-width"="512"'  # no more than there are


class _Library(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    def add_ir_module(self, module: Any) -> None:
        for function in module.functions:
            if not function.is_declaration:
                # llvmlite's own ``add`` knows no attributes with a value.
                set.add(function.attributes, _WIDE)
        super().add_ir_module(module)


class _PartLibrary(_Library):
    """What is linked to kernels, and never in memory itself."""

    @property
    def codegen(self) -> Any:
        return _Nowhere(self._codegen)

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class _Nowhere:
    """numba's code generator, but for what it writes to where a part would be in memory."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def set_env(self, name: str, env: Any) -> None:
        """Parts call nothing of Python's, and need no environment for it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)


class _Remembering:
    """numba's typing context, but for what a call of an operator or an instruction is.

    numba tries all that are registered, NumPy's first, at each place in a kernel that has one: a
    sum of two whole numbers, say.
    """

    known: ClassVar[dict[Any, Any]] = {}

    def __init__(self, context: Any) -> None:
        self._context = context

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """Return the signature of a call."""
        # What is compiled for a call, or belongs to an object, is numba's to find each time.
        if isinstance(func, types.Type) and type(func) is not types.Function:
            return self._context.resolve_function_type(func, args, kws)
        key = func, tuple(args), tuple(kws.items())
        found = self.known.get(key)
        if found is None:
            found = self._context.resolve_function_type(func, args, kws)
            if found is not None:
                self.known[key] = found
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class KernelCompiler(Compiler):  # type: ignore[misc]
    """Compiles a kernel and what calls it from Python."""

    library: Any = _Library

    def define_pipelines(self) -> Any:
        """Do as numba does, with a library of our own."""
        state = self.state
        state.library = self.library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.typingctx = _Remembering(state.typingctx)
        # Where arrays might overlap LLVM asks at each call, and takes the loop that is no vector's
        # for small ones that lie near each other: rounded otherwise where products may be fused,
        # bits would depend on addresses.
        state.flags.noalias = bool(state.flags.fastmath)
        return [_without_idle(manager) for manager in super().define_pipelines()]


def _without_idle(manager: Any) -> Any:
    found = PassManager(manager.pipeline_name)
    found.passes += [(kind, why) for kind, why in manager.passes if kind.__name__ not in _IDLE]
    found.finalize()
    return found


class PartCompiler(KernelCompiler):
    """Compiles what is a part of kernels and is called by nothing else."""

    library: Any = _PartLibrary


parts: dict[str, Any] = {
    "pipeline_class": PartCompiler,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""How to compile a part of kernels."""

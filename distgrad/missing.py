"""What to write instead of names that PyTorch's users type and that are not here: one table.

``missing`` words the AttributeError of a Tensor, of ``dg``, ``nn``, ``nn.functional``, ``optim``….
Knows nothing else of the package.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from opcode import opmap
from typing import Any

_CPU = "distgrad computes on CPUs, on as many MPI ranks as there are: leave it out"
_SPARSE = "there are no sparse tensors here; dense ones, index_add and scatter_add do the same"
_QUANTIZED = "there are no quantized tensors here"
_STORAGE = "a tensor's memory is its NumPy array: x.array"
_COMPILED = "nothing is compiled or traced here: call the function or module itself"
_MIXED = "there is no mixed precision here: leave autocast and GradScaler out"
_DTYPE = "NumPy has no such dtype: use float32, or float16 where memory matters"
_INTERNAL = "an internal of PyTorch's; its public function is here by its own name"
_NAMED = "axes have no names here"
_MASKED = "write a function of whole tensors, or np.vectorize one over x.detach().numpy()"
_GLOBAL = "a setting of PyTorch's own kernels: leave it out"
_COPY = "a view's copy: call the function without _copy, then .clone()"

_KEYED = "random numbers are keyed by seed, step and shard: dg.manual_seed is all there is to save"
_FUNCTIONAL = """
adaptive_max_pool1d alpha_dropout batch_norm kl_div binary_cross_entropy_with_logits conv_tbc
cosine_embedding_loss ctc_loss dropout embedding embedding_bag feature_alpha_dropout
feature_dropout group_norm hinge_embedding_loss instance_norm layer_norm margin_ranking_loss
poisson_nll_loss rms_norm triplet_margin_loss max_pool1d_with_indices grid_sampler
affine_grid_generator
"""

_REMOVED = "PyTorch itself has removed it; np.linalg and dg.linalg have what is meant"
_UNDERSCORED = "write it with an underscore at the end: it changes the tensor in place"

NO_MEANING = {
    _REMOVED,
    _CPU,
    _SPARSE,
    _QUANTIZED,
    _STORAGE,
    _COMPILED,
    _MIXED,
    _DTYPE,
    _INTERNAL,
    _NAMED,
}
NO_MEANING |= {_GLOBAL}
"""The answers to names of things that are not a part of what distgrad is."""


def _all(hint: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), hint)


# By owner and name. The owner "" holds for all.
INSTEAD: dict[str, dict[str, str]] = {
    "": {},
    "Tensor": {
        **_all(_REMOVED, "eig lstsq solve symeig reinforce resize resize_as lu"),
        "to_padded_tensor": "nn.utils.rnn.pad_sequence of a list of tensors",
        "new": "x.new_zeros(…), x.new_tensor(…)",
        "new_empty_strided": "x.new_zeros(…)",
        "index": "x[i]",
        **_all(_INTERNAL, "output_nr volatile grad_dtype module_load hash_tensor slice_inverse"),
        "as_strided_scatter": "index it, x[i] = y; views by strides have no gradient here",
        "apply_": _MASKED,
        "map_": _MASKED,
        "map2_": _MASKED,
        "as_strided": "index it, or use unfold; views by strides have no gradient here",
        "as_strided_": "index it, or use unfold; views by strides have no gradient here",
        "as_subclass": "wrap a Tensor in a class of your own",
        "set_": "assign x.array, or make a new Tensor",
        "resize_": "a tensor keeps its size: make a new one, x = x.reshape(…)",
        "resize_as_": "a tensor keeps its size: make a new one",
        "share_memory_": "ranks do not share tensors; dg.distributed sends them",
    },
    "distgrad.optim": {
        "swap_in_optimizer_params_and_state": _COMPILED,
    },
    "distgrad.nn.init": {
        **_all(
            _UNDERSCORED,
            "constant dirac eye kaiming_normal kaiming_uniform normal orthogonal uniform "
            "xavier_normal xavier_uniform",
        ),
    },
    "distgrad.nn.functional": {
        "grouped_mm": "a @ b, for each group",
        "scaled_mm": "a @ b; there are no 8-bit matrices",
        "scaled_grouped_mm": "a @ b, for each group; there are no 8-bit matrices",
        **_all(
            _INTERNAL,
            "assert_int_or_pair boolean_dispatch handle_torch_function has_torch_function "
            "has_torch_function_unary has_torch_function_variadic",
        ),
    },
    "distgrad.distributed": {
        "algorithms": "import distgrad.distributed.algorithms.ddp_comm_hooks, or use the hooks of "
        "dg.parallel.hooks",
        "optim": "from distgrad.distributed.optim import PostLocalSGDOptimizer",
        "fsdp": "dg.DistributedDataParallel(model, zero=3)",
        **_all("dg.parallel.hooks has it: docs/compression.md", "GradBucket"),
        "get_node_local_rank": "CPUs need no device number",
        **_all(
            "new_group(ranks), or world.comm.split(color)",
            "new_subgroups new_subgroups_by_enumeration split_group init_device_mesh",
        ),
    },
    "distgrad.distributed.optim": {
        "ZeroRedundancyOptimizer": "dg.DistributedDataParallel(model, zero=1), and the optimizer "
        "as it is",
    },
    "distgrad.distributions": {
        **_all(
            "the transform itself: ExpTransform(), SigmoidTransform(), StickBreakingTransform()",
            "transform_to biject_to ConstraintRegistry",
        ),
        "ExponentialFamily": "subclass Distribution, and register_kl the pairs that are needed",
    },
    "distgrad.linalg": _all(
        "linalg.cholesky for positive definite matrices, linalg.lu_factor or eigh for others",
        "ldl_factor ldl_factor_ex ldl_solve",
    ),
    "distgrad.special": {
        here: f"scipy.special.{scipys} of x.detach().numpy(); with a gradient, as an op of your "
        f"own (docs/adding-an-op.md)"
        for here, scipys in {
            "airy_ai": "airy",
            "bessel_y0": "y0",
            "bessel_y1": "y1",
            "modified_bessel_k0": "k0",
            "modified_bessel_k1": "k1",
            "scaled_modified_bessel_k0": "k0e",
            "scaled_modified_bessel_k1": "k1e",
        }.items()
    },
    "distgrad.utils": {
        "tensorboard": "dg.observe.TensorBoardLogger writes its event files (extra tensorboard)",
        "cpp_extension": "an op of your own is Python: docs/adding-an-op.md",
        "bottleneck": "dg.observe.profile",
    },
    "distgrad.utils.data": _all(
        "an IterableDataset whose __iter__ does the steps, or a Dataset",
        "DFIterDataPipe DataChunk IterDataPipe MapDataPipe argument_validation "
        "functional_datapipe guaranteed_datapipes_determinism non_deterministic "
        "runtime_validation runtime_validation_disabled",
    ),
    "distgrad.utils.checkpoint": _all(
        "checkpoint(function, *args), which computes all of it again",
        "CheckpointError CheckpointFunction CheckpointPolicy GraphExecGroup SAC_IGNORED_OPS "
        "SelectiveCheckpointContext check_backward_validity create_selective_checkpoint_contexts "
        "detach_variable get_device_states noop_context_fn set_checkpoint_debug_enabled "
        "set_checkpoint_early_stop set_device_states",
    ),
    "distgrad.func": {
        **_all(_COMPILED, "functionalize debug_unwrap"),
        "rearrange": "x.reshape(…).permute(…)",
        "replace_all_batch_norm_modules_": "BatchNorm2d(…, track_running_stats=False)",
        "stack_module_state": "functional_call(model, …) for each: vmap is a loop here",
    },
    "distgrad.autograd": {
        **_all("the Tensor itself: x.requires_grad_()", "Variable variable"),
        "profiler": "dg.observe.profile, or distgrad run --timeline FOLDER",
        **_all(_INTERNAL, "NestedIOFunction enforce_grad_layout_policy"),
        "gradgradcheck": "gradcheck of a function that returns dg.autograd.grad(…, "
        "create_graph=True)",
        "set_detect_anomaly": "dg.detect_anomaly()",
        "set_multithreading_enabled": _GLOBAL,
    },
    "distgrad": {
        **_all(
            "dg.parallel has it",
            "DiLoCo PeriodicModelAverager PostLocalSGDOptimizer hooks",
        ),
        "set_num_threads": "dg.init(threads=…): they belong to the same-bits contract",
        "compile": "nothing is compiled here: call the model itself",
        "Event": _CPU,
        "get_rng_state": _KEYED,
        "set_rng_state": _KEYED,
        "default_generator": _KEYED,
        **_all(_REMOVED, "eig lstsq solve symeig matrix_rank"),
        **_all(
            _INTERNAL,
            "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell "
            "convolution constant_pad_nd embedding_renorm_ norm_except_dim hash_tensor "
            "slice_inverse AVG SUM init_num_threads has_lapack has_mkl has_openmp "
            "has_spectral is_distributed IODescriptor JITException",
        ),
        **_all(
            _GLOBAL,
            "get_num_interop_threads set_num_interop_threads get_deterministic_debug_mode "
            "set_deterministic_debug_mode is_anomaly_check_nan_enabled is_anomaly_enabled "
            "is_deterministic_algorithms_warn_only_enabled is_inference_mode_enabled "
            "is_warn_always_enabled set_anomaly_enabled set_warn_always layout "
            "memory_format thread_safe_generator",
        ),
        **_all(_QUANTIZED, "ao"),
        **_all(_GLOBAL, "backends cpu"),
        **_all(_COMPILED, "classes library overrides"),
        "functional": "its functions are dg's own: dg.einsum",
        "futures": "dg.distributed's async_op=True returns a work with wait()",
        "masked": "dg.where, masked_fill and the nan… functions",
        "monitor": "dg.observe",
        "nested": "nn.utils.rnn.pad_sequence, or a list of tensors",
        **_all("dg.save and dg.load: weights travel as safetensors", "package onnx"),
        "profiler": "python -m cProfile; what a rank waits for is told after 30 s",
        "quasirandom": "scipy.stats.qmc, and dg.from_numpy",
        "return_types": "the results are named tuples: x.max(dim=1).values",
        "signal": "dg.hann_window and its like",
        "testing": "np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy())",
        "types": "dg.Tensor, dg.dtype, dg.device",
        **_all("dg.__version__", "torch_version version"),
        "from_file": "dg.from_numpy(np.memmap(…))",
        "as_strided": "index it, or use unfold; views by strides have no gradient here",
        "lobpcg": "dg.linalg.eigh",
        "empty_strided": "dg.empty",
        "empty_permuted": "dg.empty",
        "multiprocessing": "start ranks with `distgrad run -n N` or mpirun; they call main()",
        "hub": "dg.nn.zoo has models; dg.load reads what dg.save or safetensors wrote",
        "get_num_threads": "dg.init(threads=…) sets them; `distgrad run` tells them",
        **_all("nn.functional has it, with its arguments", _FUNCTIONAL),
    },
}

_NAMES = {
    _CPU: "xpu mps ipu hpu mtia maia cuda accelerator Stream get_device_module is_cuda pin_memory "
    "is_pinned record_stream",
    _COMPILED: "jit compile script export fx compiler ScriptModule ScriptFunction trace_module "
    "cond while_loop jit_trace Graph ScriptClass ScriptObject fork wait Future AwaitType",
    _MIXED: "amp autocast GradScaler",
    _NAMED: "names rename rename_ refine_names align_to align_as has_names name",
    _STORAGE: "storage untyped_storage storage_type",
    _DTYPE: "bfloat16 complex32 chalf bit bfloat16_",
    _QUANTIZED: "dequantize int_repr qscheme",
    _SPARSE: "coalesce is_coalesced smm hsmm sspaddmm hspmm saddmm dsmm spmm indices values "
    "dense_dim to_dense",
    _GLOBAL: "set_flush_denormal set_float32_matmul_precision get_float32_matmul_precision",
}
INSTEAD[""].update({n: hint for hint, listed in _NAMES.items() for n in listed.split()})

_PATTERNS = [
    (r"autocast", _MIXED),
    (r"(cudnn|miopen|mkldnn|fbgemm|vulkan|_dnn|native|onednn|xnnpack)", _INTERNAL),
    (r"(cuda|xpu|mps$|ipu|mtia|maia|hpu|vulkan|xla|_device$)", _CPU),
    (r"(quant|^q_|^qint|^quint|^choose_qparams)", _QUANTIZED),
    (r"(sparse|crow_|ccol_|col_indices|row_indices|_csr|_coo|_csc|_bsr|_bsc)", _SPARSE),
    (r"^(float8|float4|float6|int[1-7]$|uint[1-7]$|bits)", _DTYPE),
    (r"(Storage$|storage)", _STORAGE),
    (r"^(sym_|Sym|parse_|import_ir|merge_type|unify_type|Jit|Type|.*Type$)", _INTERNAL),
    (r"_copy$", _COPY),
    (r"^batch_norm_", _INTERNAL),
    (r"^as_strided", "index it, x[i] = y; views by strides have no gradient here"),
    (r"^resize_", "a tensor keeps its size: make a new one"),
    (r"dropout_$|^grid_sampler", "nn.functional has it, out of place"),
]
# PyTorch's own machinery stands beside its functions in torch.__all__.
_CLASSES = r"^[A-Z][a-z]+[A-Za-z]*$"


def instead(owner: str, name: str) -> str | None:
    """Return what to write instead of ``name``. None where nothing is known."""
    for table in (INSTEAD.get(owner, {}), INSTEAD[""]):
        if name in table:
            return table[name]
    found = next((hint for pattern, hint in _PATTERNS if re.search(pattern, name)), None)
    if found is None and owner == "distgrad" and re.search(_CLASSES, name):
        return _INTERNAL
    return found


def missing(owner: str, name: str, holder: Any) -> AttributeError:
    """Return the error of ``owner`` ("Tensor", "dg.nn", …), a type or module, without ``name``."""
    # hasattr() asks a type for the same names again and again, and never reads the answer.
    said = (_said_of_type if isinstance(holder, type) else _said)(owner, name, holder)
    text = f"{owner} has no {name!r}"
    return AttributeError(f"{text}: {said}" if said else text, name=name)


def _said(owner: str, name: str, holder: Any) -> str | None:
    said = None if name.startswith("__") else instead(owner, name)
    if said is None and not name.startswith("_"):
        near = difflib.get_close_matches(name, dir(holder), 6, 0.75)
        if isinstance(holder, type):  # which may hold names that are known to be misspelt
            near = [n for n in near if hasattr(holder, n)]
        near = near[:3]
        said = f"did you mean {' or '.join(near)}?" if near else None
    return said


_said_of_type = lru_cache(maxsize=256)(_said)


FILES: dict[str, str] = {}
"""Modules that are made when they are asked for; ``torch_files`` knows them."""

_IMPORT_FROM = opmap["IMPORT_FROM"]


def answers(owner: str, module: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module (its ``globals()``) that answers missing names."""

    def module_getattr(name: str) -> Any:
        if (file := f"{module['__name__']}.{name}") in FILES:
            return import_module(file)
        error = missing(owner, name, _Names(module))
        asking = sys._getframe(1)
        importing = asking.f_code.co_code[asking.f_lasti] == _IMPORT_FROM
        if importing and f"{module['__name__']}.{name}" not in sys.modules:
            # `from … import name` would say of an AttributeError no more than the name.
            raise ImportError(f"cannot import {name!r}: {error}", name=owner)
        raise error

    return module_getattr


class _Names:
    """What ``dir`` reads of a module."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self._module = module

    def __dir__(self) -> list[str]:
        return [name for name in self._module if not name.startswith("_")]

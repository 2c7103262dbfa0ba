"""What to write instead of names that PyTorch's users type and that are not here: one table.

``missing`` words the AttributeError of a Tensor, of ``dg``, ``nn``, ``nn.functional``, ``optim``….
Knows nothing else of the package.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

_CPU = "distgrad computes on CPUs, on as many MPI ranks as there are: leave it out"
_SPARSE = "there are no sparse tensors here; dense ones, index_add and scatter_add do the same"
_QUANTIZED = "there are no quantized tensors here"
_STORAGE = "a tensor's memory is its NumPy array: x.data"
_COMPILE = "nothing is compiled or traced here: call the function or module itself"

# By owner and name. The owner "" holds for all.
INSTEAD: dict[str, dict[str, str]] = {
    "": {
        "cuda": _CPU,
        "xpu": _CPU,
        "mps": _CPU,
        "ipu": _CPU,
        "mtia": _CPU,
        "hpu": _CPU,
        "bfloat16": "NumPy has no bfloat16: use float32, or half() where memory matters",
        "compile": _COMPILE,
        "jit": _COMPILE,
        "script": _COMPILE,
        "amp": "there is no mixed precision here: leave autocast and GradScaler out",
        "autocast": "there is no mixed precision here: leave it out",
        "sparse": _SPARSE,
        "quantization": _QUANTIZED,
    },
    "Tensor": {
        "map_": "call a function of whole tensors, or np.vectorize it on x.detach().numpy()",
        "map2_": "call a function of whole tensors, or np.vectorize it on x.detach().numpy()",
        "apply_": "call a function of whole tensors, or np.vectorize it on x.detach().numpy()",
        "as_strided": "index it, or use unfold; views by strides have no gradient here",
        "as_subclass": "wrap a Tensor in a class of your own",
        "set_": "assign x.data, or make a new Tensor",
        "resize_": "a tensor keeps its size: make a new one, x = x.reshape(…)",
        "resize": "a tensor keeps its size: make a new one, x = x.reshape(…)",
        "resize_as_": "a tensor keeps its size: make a new one",
        "resize_as": "a tensor keeps its size: make a new one",
        "grad_fn": "write x.requires_grad and x.is_leaf; repr(x) names the op it came from",
        "storage": _STORAGE,
        "untyped_storage": _STORAGE,
        "data_ptr": "x.data.ctypes.data",
        "const_data_ptr": "x.data.ctypes.data",
        "share_memory_": "ranks do not share tensors; dg.distributed sends them",
        "is_shared": "ranks do not share tensors; dg.distributed sends them",
        "pin_memory": _CPU,
        "record_stream": _CPU,
        "rename": "axes have no names here; einops works on Tensors' arrays",
        "refine_names": "axes have no names here",
        "names": "axes have no names here",
        "reinforce": "write the loss -(reward * log_prob).mean()",
        "symeig": "np.linalg.eigh(x)",
        "to_dense": "every tensor here is dense: leave it out",
        "ormqr": "np.matmul(np.linalg.qr(a)[0], x)",
    },
}
_SPARSE_NAMES = """
to_sparse to_sparse_coo to_sparse_csr to_sparse_csc to_sparse_bsr to_sparse_bsc coalesce smm hsmm
sparse_mask sparse_dim dense_dim sparse_resize_ sparse_resize_and_clear_ crow_indices ccol_indices
col_indices row_indices sspaddmm hspmm resize_as_sparse_ indices values sparse_coo_tensor
sparse_csr_tensor sparse_csc_tensor sparse_bsr_tensor sparse_bsc_tensor sparse_compressed_tensor
"""
_QUANTIZED_NAMES = """
dequantize int_repr q_scale q_zero_point q_per_channel_axis q_per_channel_scales qscheme
q_per_channel_zero_points quantize_per_tensor quantize_per_channel quantize_per_tensor_dynamic
"""
INSTEAD[""].update(dict.fromkeys(_SPARSE_NAMES.split(), _SPARSE))
INSTEAD[""].update(dict.fromkeys(_QUANTIZED_NAMES.split(), _QUANTIZED))


def missing(owner: str, name: str, holder: Any) -> AttributeError:
    """Return the error of ``owner`` ("Tensor", "dg.nn", …), a type or module, without ``name``."""
    said = INSTEAD.get(owner, {}).get(name) or INSTEAD[""].get(name)
    if said is None and not name.startswith("_"):
        near = difflib.get_close_matches(name, dir(holder), 3, 0.75)
        said = f"did you mean {' or '.join(near)}?" if near else None
    text = f"{owner} has no {name!r}"
    error = AttributeError(f"{text}: {said}" if said else text, name=name)
    return error


def answers(owner: str, module: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module (its ``globals()``) that answers missing names."""

    def module_getattr(name: str) -> Any:
        raise missing(owner, name, _Names(module))

    return module_getattr


class _Names:
    """What ``dir`` reads of a module."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self._module = module

    def __dir__(self) -> list[str]:
        return [name for name in self._module if not name.startswith("_")]

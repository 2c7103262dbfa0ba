"""The files that PyTorch keeps things in: ``from torch.nn.modules.batchnorm import _BatchNorm``.

A module of this table has the names of another one, and some of its own. It is made when it is
imported, or asked for by attribute. Knows no layer and no distribution.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from distgrad.missing import FILES, instead

_NN = "distgrad.nn"
_OWN = {  # the names that PyTorch's users ask for besides, and where they are here
    f"{_NN}.modules.batchnorm": {
        "_BatchNorm": "batchnorm._BatchNorm",
        "_NormBase": "batchnorm._RunningNorm",
    },
    f"{_NN}.modules.conv": {
        "_ConvNd": "conv.Convolution",
        "_ConvTransposeNd": "conv._ConvTranspose",
    },
    f"{_NN}.modules.dropout": {"_DropoutNd": "dropout._Dropout"},
    f"{_NN}.modules.instancenorm": {"_InstanceNorm": "batchnorm._InstanceNorm"},
    f"{_NN}.modules.loss": {"_Loss": "loss._Loss", "_WeightedLoss": "loss._WeightedLoss"},
    f"{_NN}.modules.pooling": {
        f"{name}Nd": f"pool.{name}"
        for name in [
            "_AdaptiveAvgPool",
            "_AdaptiveMaxPool",
            "_AvgPool",
            "_LPPool",
            "_MaxPool",
            "_MaxUnpool",
        ]
    },
    f"{_NN}.modules.utils": {
        name: f"repeated.{name}"
        for name in ["_ntuple", "_single", "_pair", "_triple", "_quadruple"]
    },
    "distgrad.distributions.utils": {
        "euler_constant": "shared.EULER",
        **{
            name: f"shared.{name}"
            for name in [
                "broadcast_all",
                "clamp_probs",
                "lazy_property",
                "logits_to_probs",
                "probs_to_logits",
            ]
        },
    },
}
_IN = {
    f"{_NN}.modules": """activation adaptive batchnorm channelshuffle container conv distance
        dropout flatten fold instancenorm lazy linear loss module normalization padding
        pixelshuffle pooling rnn sparse transformer upsampling utils""",
    "distgrad.distributions": """bernoulli beta binomial cauchy chi2 dirichlet fishersnedecor
        geometric gumbel half_cauchy half_normal laplace log_normal mixture_same_family multinomial
        negative_binomial one_hot_categorical poisson relaxed_bernoulli relaxed_categorical studentT
        transformed_distribution uniform utils weibull""",
    "distgrad.optim": "adadelta adagrad adamax adamw asgd nadam radam rmsprop rprop sparse_adam",
}
FILES[f"{_NN}.modules"] = _NN
for _package, _files in _IN.items():
    FILES.update((f"{_package}.{f}", _package.removesuffix(".modules")) for f in _files.split())


class _Finder(MetaPathFinder, Loader):
    """Asked last, for modules of distgrad that have no file."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a place. Errors: ModuleNotFoundError that says what to write."""
        if fullname in FILES:
            return ModuleSpec(fullname, self, is_package=fullname == f"{_NN}.modules")
        owner, _, name = fullname.rpartition(".")
        if owner.partition(".")[0] == "distgrad" and (said := instead(owner, name)) is not None:
            raise ModuleNotFoundError(f"{owner} has no {name!r}: {said}", name=fullname)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Give it names that are looked up in its home."""
        home = import_module(FILES[module.__name__])
        own = _OWN.get(module.__name__, {})
        module.__doc__ = f"What PyTorch has in a file of this name; here in ``{home.__name__}``."
        module.__dict__["__getattr__"] = partial(_looked_up, module.__name__, home, own)
        module.__dict__["__all__"] = [
            name for name in home.__all__ if not isinstance(getattr(home, name), ModuleType)
        ]


def _looked_up(where: str, home: ModuleType, own: Mapping[str, str], name: str) -> Any:
    if name in own:
        file, _, there = own[name].partition(".")
        return getattr(import_module(f"{home.__name__}.{file}"), there)
    if f"{where}.{name}" in FILES:
        return import_module(f"{where}.{name}")
    if name.startswith("__"):
        raise AttributeError(f"module {where!r} has no attribute {name!r}", name=name)
    return getattr(home, name)


sys.meta_path.append(_Finder())

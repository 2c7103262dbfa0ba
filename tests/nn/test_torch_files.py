"""PyTorch's file names, ``from torch.nn.modules.batchnorm import _BatchNorm``, and what is here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn
from distgrad.distributions.utils import lazy_property, logits_to_probs, probs_to_logits
from distgrad.missing import FILES
from distgrad.nn.modules.loss import _WeightedLoss
from distgrad.nn.modules.utils import _ntuple, _pair, _single, _triple


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_the_names_of_its_package(name):
    module = importlib.import_module(name)
    home = importlib.import_module(FILES[name])
    assert module.__all__ == [n for n in home.__all__ if not inspect.ismodule(getattr(home, n))]
    assert all(getattr(module, public) is getattr(home, public) for public in module.__all__)


def test_every_file_of_pytorch_with_layers_and_distributions_is_there():
    torch = pytest.importorskip("torch")
    inner = {"constraint_registry", "exp_family", "lazy", "linear_cross_entropy"}
    for package in (torch.nn.modules, torch.distributions):
        ours = package.__name__.replace("torch", "distgrad", 1)
        for found in pkgutil.iter_modules(package.__path__):
            if found.name not in inner and not found.name.startswith(("_", "linear_cross")):
                importlib.import_module(f"{ours}.{found.name}")


@pytest.mark.parametrize(
    ("file", "base", "layers"),
    [
        ("batchnorm", "_BatchNorm", "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm"),
        ("batchnorm", "_NormBase", "BatchNorm2d InstanceNorm2d"),
        ("conv", "_ConvNd", "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d"),
        ("conv", "_ConvTransposeNd", "ConvTranspose1d ConvTranspose2d ConvTranspose3d"),
        ("dropout", "_DropoutNd", "Dropout Dropout1d Dropout2d AlphaDropout"),
        ("instancenorm", "_InstanceNorm", "InstanceNorm1d InstanceNorm2d"),
        ("loss", "_Loss", "MSELoss CrossEntropyLoss BCEWithLogitsLoss"),
        ("pooling", "_MaxPoolNd", "MaxPool1d MaxPool2d"),
        ("pooling", "_AvgPoolNd", "AvgPool1d AvgPool2d"),
        ("pooling", "_AdaptiveAvgPoolNd", "AdaptiveAvgPool1d AdaptiveAvgPool2d"),
        ("rnn", "RNNBase", "RNN LSTM GRU"),
    ],
)
def test_layers_are_known_by_pytorchs_bases(file, base, layers):
    known = getattr(getattr(nn.modules, file), base)
    assert all(issubclass(getattr(nn, layer), known) for layer in layers.split())
    assert not issubclass(nn.Linear, known)


def test_a_loss_of_ones_own_from_pytorchs_base():
    class Focal(_WeightedLoss):
        def __init__(self, weight=None, gamma=2.0, reduction="mean"):
            super().__init__(weight, reduction=reduction)
            self.gamma = gamma

        def forward(self, input, target):
            return nn.functional.cross_entropy(
                input, target, weight=self.weight, reduction=self.reduction
            )

    logits, target = dg.tensor([[1.0, 2.0], [0.5, 0.0]]), dg.tensor([1, 0])
    weight = dg.tensor([1.0, 3.0])
    loss = Focal(weight, reduction="sum")
    wanted = nn.CrossEntropyLoss(weight, reduction="sum")(logits, target)
    assert loss(logits, target).item() == wanted.item()
    assert [*loss.state_dict()] == ["weight"]
    assert repr(loss) == "Focal()"


def test_a_number_is_repeated_for_each_axis():
    assert (_single(3), _pair(3), _triple((1, 2, 3)), _ntuple(5)(0)) == (
        (3,), (3, 3), (1, 2, 3), (0,) * 5
    )  # fmt: skip


def test_a_name_that_no_file_has_is_answered():
    with pytest.raises(AttributeError, match="did you mean Linear"):
        nn.modules.linear.Linea  # noqa: B018
    with pytest.raises(ImportError, match=r"x\.requires_grad_"):
        importlib.import_module("distgrad.autograd.variable")
    with pytest.raises(ModuleNotFoundError, match="TensorBoardLogger"):
        importlib.import_module("distgrad.utils.tensorboard")
    with pytest.raises(ModuleNotFoundError, match=r"dg\.observe\.profile"):
        importlib.import_module("distgrad.autograd.profiler")
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module("distgrad.nn.modules.nowhere")


def test_a_lazy_property_is_computed_once_with_gradients():
    class Half:
        calls = 0

        def __init__(self, p):
            self.p = p

        @lazy_property
        def half(self):
            """Half of it."""
            self.calls += 1
            return 0.5 * self.p

    x = Half(dg.tensor([2.0], requires_grad=True))
    with dg.no_grad():
        assert x.half.requires_grad
    assert x.half is x.half
    assert (x.calls, Half.half.__doc__) == (1, "Half of it.")
    p = dg.tensor([0.25, 0.75])
    found = logits_to_probs(probs_to_logits(p, is_binary=True), is_binary=True)
    np.testing.assert_allclose(found.array, p.array, rtol=1e-6)

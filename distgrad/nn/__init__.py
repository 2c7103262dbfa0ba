"""Modules, layers, losses and initialisers with PyTorch's names and weight layouts."""

from distgrad.nn import functional, init
from distgrad.nn.activation import GELU, ReLU, Sigmoid, Tanh
from distgrad.nn.batchnorm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from distgrad.nn.container import (
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from distgrad.nn.conv import Conv2d
from distgrad.nn.dropout import Dropout
from distgrad.nn.linear import Identity, Linear
from distgrad.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from distgrad.nn.module import Module, Parameter
from distgrad.nn.norm import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm
from distgrad.nn.pool import AvgPool2d, MaxPool2d
from distgrad.nn.reshape import Flatten
from distgrad.nn.sparse import Embedding
from distgrad.nn.state import state_sha256
from distgrad.nn.summary import Summary, summary

__all__ = [
    "GELU",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Summary",
    "Tanh",
    "functional",
    "init",
    "state_sha256",
    "summary",
]

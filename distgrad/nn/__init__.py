"""Modules, layers, losses and initialisers with PyTorch's names and weight layouts."""

from distgrad.nn import functional, init
from distgrad.nn.activation import GELU, ReLU, Sigmoid, Tanh
from distgrad.nn.container import ModuleList, Sequential
from distgrad.nn.conv import Conv2d
from distgrad.nn.dropout import Dropout
from distgrad.nn.linear import Identity, Linear
from distgrad.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from distgrad.nn.module import Module, Parameter, state_sha256
from distgrad.nn.norm import BatchNorm1d, BatchNorm2d, LayerNorm
from distgrad.nn.pad import (
    CircularPad1d,
    CircularPad2d,
    CircularPad3d,
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReflectionPad3d,
    ReplicationPad1d,
    ReplicationPad2d,
    ReplicationPad3d,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from distgrad.nn.pool import AvgPool2d, MaxPool2d
from distgrad.nn.reshape import Flatten, Unflatten
from distgrad.nn.sparse import Embedding

__all__ = [
    "GELU",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "Unflatten",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
    "functional",
    "init",
    "state_sha256",
]

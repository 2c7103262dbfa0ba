"""Models whose weights travel: names and layouts of torchvision, PyTorch and Hugging Face.

``model.load_state_dict(dg.load("model.safetensors"))`` takes their files, ``dg.save`` writes ones
that they read. Nothing is downloaded. See docs/weights.md.
"""

from distgrad.missing import answers as _answers
from distgrad.nn.zoo.bert import BERT
from distgrad.nn.zoo.decay import decay_groups
from distgrad.nn.zoo.gpt2 import GPT2, Conv1D
from distgrad.nn.zoo.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50
from distgrad.nn.zoo.small import MLP, LeNet
from distgrad.nn.zoo.word_model import RNNModel

__all__ = [
    "BERT",
    "GPT2",
    "MLP",
    "BasicBlock",
    "Bottleneck",
    "Conv1D",
    "LeNet",
    "RNNModel",
    "ResNet",
    "decay_groups",
    "resnet18",
    "resnet34",
    "resnet50",
]

__getattr__ = _answers("distgrad.nn.zoo", globals())

"""The zoo's models beside PyTorch's of the same layouts: weights go there and come back."""

from __future__ import annotations

import numpy as np
import pytest
import zoo_peers as peers
from oracle import torch
from safetensors.torch import load_file, save_file

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.nn import zoo

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(1, 31, (3, 11))
SEEN = (np.arange(11) < np.array([[11], [6], [3]])).astype(np.int64)
TYPES = np.broadcast_to((np.arange(11) > 4).astype(np.int64), (3, 11))
IMAGES = RNG.normal(size=(3, 3, 33, 35))

GPT2 = {"vocab_size": 31, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}
BERT = {
    "vocab_size": 31,
    "max_position_embeddings": 16,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
}
NO_DROPOUT = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
NO_BERT_DROPOUT = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
BERT_INPUTS = TOKENS * SEEN, SEEN, TYPES

# Name: ours, PyTorch's, the inputs.
CASES = {
    "GPT2": (
        lambda: zoo.GPT2(**GPT2, **NO_DROPOUT),
        lambda: peers.GPT2(*GPT2.values()),
        (TOKENS,),
    ),
    "BERT": (
        lambda: zoo.BERT(**BERT, **NO_BERT_DROPOUT),
        lambda: peers.BERT(*BERT.values()),
        BERT_INPUTS,
    ),
    "BERT, labels": (
        lambda: zoo.BERT(**BERT, **NO_BERT_DROPOUT, num_labels=5),
        lambda: peers.BERT(*BERT.values(), labels=5),
        BERT_INPUTS,
    ),
    "resnet18": (lambda: zoo.resnet18(num_classes=7), lambda: peers.ResNet(18, 7), (IMAGES,)),
    "resnet34": (lambda: zoo.resnet34(num_classes=7), lambda: peers.ResNet(34, 7), (IMAGES,)),
    "resnet50": (lambda: zoo.resnet50(num_classes=7), lambda: peers.ResNet(50, 7), (IMAGES,)),
    "LeNet": (zoo.LeNet, peers.LeNet, (RNG.normal(size=(3, 1, 32, 32)),)),
    "MLP": (
        lambda: zoo.MLP(4, [6, 5, 3]),
        lambda: peers.mlp([4, 6, 5, 3], norm=False),
        (RNG.normal(size=(5, 4)),),
    ),
    "MLP, norms": (
        lambda: zoo.MLP(4, [6, 5, 3], nn.LayerNorm),
        lambda: peers.mlp([4, 6, 5, 3], norm=True),
        (RNG.normal(size=(5, 4)),),
    ),
}
STATE = RNG.normal(size=(2, 3, 8))
for kind, tied in (("LSTM", False), ("LSTM", True), ("GRU", False), ("RNN_TANH", True)):
    pair = kind == "LSTM"
    CASES[f"RNNModel, {kind}{', tied' * tied}"] = (
        lambda kind=kind, tied=tied: zoo.RNNModel(kind, 31, 8, 8, 2, 0.0, tied),
        lambda kind=kind, tied=tied: peers.RNNModel(kind, 31, 8, 8, tied),
        (TOKENS.T, (STATE, STATE[::-1].copy()) if pair else STATE),
    )


def converted(value, make):
    return tuple(converted(v, make) for v in value) if isinstance(value, tuple) else make(value)


def first(output):
    return output[0] if isinstance(output, tuple) else output


def assert_close(ours, theirs, name=""):
    theirs = theirs.detach().numpy()
    scale = max(np.abs(theirs).max(), 1e-3)
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs, rtol=1e-9, atol=1e-9 * scale, err_msg=name
    )


def randomized(model):
    """Let norms' gains and biases be anything, too."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.double()


def saved(theirs, file):
    """Write PyTorch's state as the neighbours do: of what is shared the first name only."""
    state, seen = {}, set()
    for name, tensor in theirs.state_dict().items():
        if tensor.data_ptr() not in seen or tensor.numel() == 1:
            seen.add(tensor.data_ptr())
            state[name] = tensor
    save_file(state, file, metadata={"format": "pt"})


@pytest.mark.parametrize("name", CASES)
def test_weights_of_pytorch_are_loaded_trained_and_given_back(name, tmp_path):
    make, make_theirs, inputs = CASES[name]
    ours, theirs = make().double(), randomized(make_theirs())
    file = tmp_path / "model.safetensors"
    saved(theirs, file)
    assert ours.load_state_dict(dg.load(file)) == ([], [])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, tensor in theirs.state_dict().items():
        assert tuple(tensor.shape) == ours.state_dict()[key].shape, key

    own = dict(ours.named_parameters())
    descent = optim.SGD(ours.parameters(), lr=0.05)
    their_descent = torch.optim.SGD(theirs.parameters(), lr=0.05)
    arguments = converted(inputs, torch.tensor)
    for _ in range(2):
        output, expected = first(ours(*inputs)), first(theirs(*arguments))
        assert_close(output, expected, "training")
        labels = np.arange(output.size // output.shape[-1]) % output.shape[-1]
        flat = output.reshape(-1, output.shape[-1]), expected.reshape(-1, output.shape[-1])
        descent.zero_grad()
        their_descent.zero_grad()
        F.cross_entropy(flat[0], labels).backward()
        torch.nn.functional.cross_entropy(flat[1], torch.tensor(labels)).backward()
        for key, p in theirs.named_parameters():
            assert_close(own[key].grad, p.grad, key)
        descent.step()
        their_descent.step()

    ours.eval()
    theirs.eval()
    assert_close(first(ours(*inputs)), first(theirs(*arguments)), "evaluation")
    with dg.no_grad():
        for p in ours.parameters():
            p.array[...] *= 1.125
    dg.save(ours.state_dict(), file)
    lacking = theirs.load_state_dict(load_file(file), strict=False)
    assert not lacking.unexpected_keys
    # What is tied is in the file once, as safetensors has it.
    assert all("decoder" in n or n == "lm_head.weight" for n in lacking.missing_keys)
    assert_close(first(ours(*inputs)), first(theirs(*arguments)), "given back")

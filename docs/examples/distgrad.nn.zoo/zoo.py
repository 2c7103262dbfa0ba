"""Examples of distgrad.nn.zoo: small ones; without settings they have the real sizes."""

import distgrad as dg
from distgrad.nn import zoo

tokens = dg.tensor([[1, 2, 3]])
images = dg.randn(1, 3, 32, 32)

# Examples

zoo.BERT(
    vocab_size=30,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    num_labels=3,
)(tokens).shape

zoo.GPT2(vocab_size=30, n_positions=8, n_embd=8, n_layer=1, n_head=2)(tokens).shape

zoo.MLP(4, [8, 2])(dg.ones(1, 4)).shape

zoo.BasicBlock(8, 8)(dg.randn(1, 8, 4, 4)).shape

# Bottleneck
zoo.Bottleneck(32, 8)(dg.randn(1, 32, 4, 4)).shape

# Conv1D: GPT-2's Linear, whose weight is (in, out)
zoo.Conv1D(5, 3)(dg.ones(2, 3)).shape, zoo.Conv1D(5, 3).weight.shape

zoo.LeNet(num_classes=10)(dg.randn(1, 1, 32, 32)).shape

# RNNModel: scores, and the state to go on with
scores, state = zoo.RNNModel("LSTM", ntoken=30, ninp=8, nhid=8, nlayers=1)(dg.tensor([[1], [2]]))
scores.shape

zoo.ResNet(zoo.BasicBlock, [1, 1, 1, 1], num_classes=10, width_per_group=64)(images).shape

# decay_groups: matrices decay, biases do not
groups = zoo.decay_groups(zoo.MLP(4, [8, 2]), weight_decay=0.1)
[(group["weight_decay"], len(group["params"])) for group in groups]

# resnet18, resnet34, resnet50: parameters in millions
models = [dg.nn.utils.skip_init(make) for make in (zoo.resnet18, zoo.resnet34, zoo.resnet50)]
[round(sum(p.size for p in model.parameters()) / 1e6, 1) for model in models]
